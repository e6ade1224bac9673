"""
Child processes under one roof: started in order, restarted when they die, stopped once, never orphaned.

A `Program` says what to run, a `Group` runs several. Start children from a thread that lives as long as they shall:
on Linux the kernel ties them to the starting thread (`retouch_ops.parent_death`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from retouch.errors import RetouchError
from retouch_ops import parent_death

FAST_DEATH_S = 5.0
LONGEST_PAUSE_S = 30.0
LOOK_EVERY_S = 0.1

Report = Callable[[str], None]


class NotReady(RetouchError):
    """A child process was not ready in time; all that were started are stopped again."""


@dataclass(frozen=True)
class Program:
    """
    What one child process is: its command, its whole environment (None: ours) and how it is known to be ready.

    `grace_s` is how long it may take to stop after SIGTERM before SIGKILL; `farewell` is the signal that it gets if we
    are killed. A program that `reloads` is sent each SIGHUP that we get.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] | None = None
    ready: Callable[[], bool] | None = None
    grace_s: float = 10.0
    farewell: signal.Signals = signal.SIGKILL
    reloads: bool = False


@dataclass
class Child:
    """One program with its present process; `starts_at` is when it is due to run again after a death."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    starts_at: float = 0.0
    fast_deaths: int = 0
    readers: list[threading.Thread] = field(default_factory=list)


def pause_s(fast_deaths: int) -> float:
    """The wait before a restart: none after a long life, then 0.5 s doubling to 30 s for one that dies young."""
    return min(LONGEST_PAUSE_S, 0.25 * 2.0 ** min(fast_deaths, 16)) if fast_deaths else 0.0


class Group:
    """
    Several children with one log and one shutdown.

    With `write`, each line that a child prints goes there as `name | line`; without it they inherit our own output
    (a collector that reads JSON lines must not meet prefixes). `report` gets our own lines.
    """

    def __init__(self, report: Report, write: Report | None = None) -> None:
        self.report, self.write = report, write
        self.waves: list[list[Child]] = []
        self.signals = 0

    @property
    def children(self) -> list[Child]:
        """All children, in the order in which they were started."""
        return [child for wave in self.waves for child in wave]

    @property
    def pids(self) -> dict[str, int]:
        """The process of each program that runs now."""
        return {child.program.name: child.process.pid for child in self.children if child.process}

    def start(self, *programs: Program) -> None:
        """Start a wave of programs, without waiting; waves are stopped in reverse."""
        wave = [Child(program) for program in programs]
        self.waves.append(wave)
        for child in wave:
            self._spawn(child)

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until every program says that it is ready; else raises `NotReady`, with nothing left running."""
        until = time.monotonic() + timeout_s
        waiting = [child for child in self.children if child.program.ready]
        while waiting and not self.signals:
            waiting = [child for child in waiting if child.program.ready and not child.program.ready()]
            if waiting and time.monotonic() > until:
                names = ", ".join(child.program.name for child in waiting)
                self.stop()
                raise NotReady(f"{names}: not ready after {timeout_s:g} s; all is stopped, its own lines say why")
            self.check_children()
            time.sleep(LOOK_EVERY_S / 2 if waiting else 0)

    def check_children(self) -> None:
        """Notice deaths, and start again what is due."""
        now = time.monotonic()
        for child in self.children:
            if child.process and child.process.poll() is not None:
                self._mourn(child, now)
            if child.process is None and child.starts_at <= now:
                self._spawn(child)

    def supervise(self) -> None:
        """Keep all running until SIGTERM or SIGINT, then stop them; a second signal kills what still stops."""
        with self.listening():
            while not self.signals:
                self.check_children()
                time.sleep(LOOK_EVERY_S)
            self.report("stopping; a second signal kills at once")
            self.stop()

    def listening(self) -> _Listening:
        """Count SIGTERM and SIGINT in `signals` instead of dying of them, and pass SIGHUP on, in a `with` block."""
        return _Listening(self)

    def stop(self) -> None:
        """Stop the waves in reverse: SIGTERM, the grace of each program, then SIGKILL."""
        already = self.signals
        for wave in reversed(self.waves):
            self._stop_wave([child for child in wave if child.process], already)
        self.waves.clear()

    def _stop_wave(self, wave: Sequence[Child], already: int) -> None:
        begun_at = time.monotonic()
        for child in wave:
            _send(child, signal.SIGTERM)
        while left := [child for child in wave if child.process and child.process.poll() is None]:
            spent = time.monotonic() - begun_at
            for child in left:
                if spent > child.program.grace_s or self.signals > max(already, 1):
                    self.report(f"{child.program.name} did not stop within {spent:.1f} s and is killed")
                    _send(child, signal.SIGKILL)
                    child.process.wait()  # type: ignore[union-attr]
            time.sleep(LOOK_EVERY_S / 5)
        for child in wave:
            self._forget(child)

    def _spawn(self, child: Child) -> None:
        program = child.program
        tied = [
            sys.executable,
            "-I",
            "-S",
            str(Path(parent_death.__file__)),
            str(os.getpid()),
            str(int(program.farewell)),
        ]
        piped = subprocess.PIPE if self.write else None
        child.process = subprocess.Popen(
            [*tied, *program.command],
            env=None if program.environment is None else dict(program.environment),
            stdin=subprocess.DEVNULL,
            stdout=piped,
            stderr=subprocess.STDOUT if self.write else None,
            start_new_session=True,  # Ctrl-C in a terminal reaches us alone: one shutdown, in our order
        )
        child.started_at = time.monotonic()
        if child.process.stdout:
            reader = threading.Thread(target=self._copy, args=(program.name, child.process.stdout), daemon=True)
            reader.start()
            child.readers.append(reader)

    def _copy(self, name: str, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                if self.write:
                    self.write(f"{name} | {line.decode(errors='replace').rstrip()}")

    def _mourn(self, child: Child, now: float) -> None:
        lived = now - child.started_at
        child.fast_deaths = child.fast_deaths + 1 if lived < FAST_DEATH_S else 0
        wait = pause_s(child.fast_deaths)
        child.starts_at = now + wait
        code = child.process.returncode if child.process else 0
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        when = f"in {wait:g} s" if wait else "at once"
        self.report(f"{child.program.name} died ({how}) after {lived:.1f} s; it is started again {when}")
        self._forget(child)

    def _forget(self, child: Child) -> None:
        for reader in child.readers:
            reader.join(1.0)
        child.readers.clear()
        child.process = None


class _Listening:
    """Signal handlers that count, or pass SIGHUP on; put back as they were at the end."""

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
        if self.ends_with_terminal and not _has_terminal():  # its window was closed: nobody is left to stop us
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


def _send(child: Child, number: signal.Signals) -> None:
    if child.process and child.process.poll() is None:
        child.process.send_signal(number)
