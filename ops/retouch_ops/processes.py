"""
Groups of child processes. A group starts its children in order, restarts dead ones, and stops all together.

A `Program` describes one child, and a `Group` runs several. On Linux, children get their death signal when the thread
that started them ends (`retouch_ops.parent_death`). So start children from a thread that lives at least as long as the
children should.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import IO

from retouch.errors import RetouchError
from retouch_ops import parent_death

FAST_DEATH_S = 5.0
LONGEST_PAUSE_S = 30.0
LOOK_EVERY_S = 0.1

Report = Callable[[str], None]


class NotReady(RetouchError):
    """A child process was not ready in time. All children have been stopped."""


@dataclass(frozen=True)
class Program:
    """
    How to run one child process, and how to find out whether it is ready.

    `environment` is the whole environment of the child. If it is None, the child inherits the environment of this
    process. A child that is stopped gets SIGTERM, and SIGKILL after `grace_s` seconds. If this process dies, the child
    gets `death_signal`. If `reloads` is True, the child also gets each SIGHUP that this process gets.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] | None = None
    ready: Callable[[], bool] | None = None
    grace_s: float = 10.0
    death_signal: signal.Signals = signal.SIGKILL
    reloads: bool = False


@dataclass
class Child:
    """
    One program and its process. While the program is dead, `process` is None. The next start is at `starts_at`.

    `fast_deaths` counts how often in a row the program has died within 5 s of its start.
    """

    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    starts_at: float = 0.0
    fast_deaths: int = 0
    readers: list[threading.Thread] = field(default_factory=list)


def pause_s(fast_deaths: int) -> float:
    """
    Return the seconds to wait before a restart. A fast death is a death within 5 s of the start.

    The wait is 0 s if there was no fast death, and 0.5 s after one. Each further one doubles the wait, up to 30 s.
    """
    return min(LONGEST_PAUSE_S, 0.25 * 2.0 ** min(fast_deaths, 16)) if fast_deaths else 0.0


class Group:
    """
    Several child processes that are stopped together and share one log.

    The children of one call of `start` are a *stage*. Stages are stopped in the reverse order of their starts. If
    `write` is set, it gets each line that a child prints, as `name | line`. Otherwise the children inherit the output
    of this process, so that JSON lines have no prefix. `report` gets the lines of the group itself.
    """

    def __init__(self, report: Report, write: Report | None = None) -> None:
        self.report, self.write = report, write
        self.stages: list[list[Child]] = []
        self.signals = 0

    @property
    def children(self) -> list[Child]:
        """All children, in the order in which they were started."""
        return [child for stage in self.stages for child in stage]

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each program that runs now, by name."""
        return {child.program.name: child.process.pid for child in self.children if child.process}

    def start(self, *programs: Program) -> None:
        """Start a new stage of programs, without waiting until they are ready."""
        stage = [Child(program) for program in programs]
        self.stages.append(stage)
        for child in stage:
            self._spawn(child)

    def wait_ready(self, timeout_s: float) -> None:
        """
        Wait until every program is ready, or a signal to stop has come.

        After `timeout_s` seconds, stop all children and raise `NotReady`.
        """
        until = time.monotonic() + timeout_s
        waiting = [child for child in self.children if child.program.ready]
        while waiting and not self.signals:
            waiting = [child for child in waiting if child.program.ready and not child.program.ready()]
            if waiting and time.monotonic() > until:
                names = ", ".join(child.program.name for child in waiting)
                self.stop()
                why = "everything is stopped; their own log lines say why"
                raise NotReady(f"{names}: not ready after {timeout_s:g} s, {why}")
            self.check_children()
            time.sleep(LOOK_EVERY_S / 2 if waiting else 0)

    def check_children(self) -> None:
        """Schedule the restart of each child that has died, and start each child whose restart is due."""
        now = time.monotonic()
        for child in self.children:
            if child.process and child.process.poll() is not None:
                self._schedule_restart(child, now)
            if child.process is None and child.starts_at <= now:
                self._spawn(child)

    def supervise(self) -> None:
        """
        Restart each child that dies, until SIGTERM or SIGINT; then stop all children.

        A second signal kills the children that have not stopped yet.
        """
        with self.counting_signals():
            while not self.signals:
                self.check_children()
                time.sleep(LOOK_EVERY_S)
            self.report("stopping; a second signal kills at once")
            self.stop()

    def counting_signals(self) -> _SignalCounter:
        """
        Return a context manager. During its block, SIGTERM and SIGINT do not end this process but are counted.

        SIGHUP is passed on to the children whose program has `reloads`. If the terminal was closed, SIGHUP ends this
        process.
        """
        return _SignalCounter(self)

    def stop(self) -> None:
        """
        Stop all children, stage by stage, the last started stage first.

        Each child gets SIGTERM, and SIGKILL after its `grace_s` or after another signal to this process.
        """
        earlier_signals = self.signals
        for stage in reversed(self.stages):
            self._stop_stage([child for child in stage if child.process], earlier_signals)
        self.stages.clear()

    def _stop_stage(self, stage: Sequence[Child], earlier_signals: int) -> None:
        begun_at = time.monotonic()
        for child in stage:
            _send(child, signal.SIGTERM)
        while left := [child for child in stage if child.process and child.process.poll() is None]:
            spent_s = time.monotonic() - begun_at
            for child in left:
                # The first signal may have begun this shutdown; another one means that it takes too long.
                if spent_s > child.program.grace_s or self.signals > max(earlier_signals, 1):
                    self.report(f"{child.program.name} did not stop within {spent_s:.1f} s and is killed")
                    _kill(child)
            time.sleep(LOOK_EVERY_S / 5)
        for child in stage:
            self._clean_up(child)

    def _spawn(self, child: Child) -> None:
        program = child.program
        stdout = subprocess.PIPE if self.write else None
        child.process = subprocess.Popen(
            parent_death.tied_to_this_process(program.command, program.death_signal),
            env=None if program.environment is None else dict(program.environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT if self.write else None,
            start_new_session=True,  # Ctrl-C in a terminal reaches us alone: one shutdown, in our order
        )
        child.started_at = time.monotonic()
        if child.process.stdout:
            reader = threading.Thread(target=self._copy_lines, args=(program.name, child.process.stdout), daemon=True)
            reader.start()
            child.readers.append(reader)

    def _copy_lines(self, name: str, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                if self.write:
                    self.write(f"{name} | {line.decode(errors='replace').rstrip()}")

    def _schedule_restart(self, child: Child, now: float) -> None:
        lived_s = now - child.started_at
        child.fast_deaths = child.fast_deaths + 1 if lived_s < FAST_DEATH_S else 0
        wait_s = pause_s(child.fast_deaths)
        child.starts_at = now + wait_s
        code = child.process.returncode if child.process else 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        when = f"in {wait_s:g} s" if wait_s else "at once"
        self.report(f"{child.program.name} died ({how}) after {lived_s:.1f} s; it is started again {when}")
        self._clean_up(child)

    def _clean_up(self, child: Child) -> None:
        for reader in child.readers:
            reader.join(1.0)
        child.readers.clear()
        child.process = None


class _SignalCounter:
    """Context manager that `Group.counting_signals` returns. At its end it restores the earlier signal handlers."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.ends_with_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN  # by nohup
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self.before = [(number, signal.getsignal(number)) for number in numbers]

    def __enter__(self) -> None:
        for number, _ in self.before:
            signal.signal(number, self._hang_up if number == signal.SIGHUP else self._count)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before:
            signal.signal(number, handler)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.group.signals += 1

    def _hang_up(self, number: int, _frame: FrameType | None) -> None:
        if (
            self.ends_with_terminal and not _has_terminal()
        ):  # the terminal's window was closed: nobody could stop this process later
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for child in self.group.children:
            if child.program.reloads:
                _send(child, signal.SIGHUP)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _kill(child: Child) -> None:
    if child.process:
        child.process.kill()
        child.process.wait()


def _send(child: Child, number: signal.Signals) -> None:
    if child.process and child.process.poll() is None:
        child.process.send_signal(number)
