"""Tests of `Group` with real, harmless processes: restarts, pauses between restarts, the shutdown, and no orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from retouch_ops import parent_death
from retouch_ops.processes import Group, NotReady, Program, pause_s
from tests.process_watch import alive, eventually

# `signal.pause` returns only after a handler has run; these programs have none and wait until a signal ends them.
IDLE = [sys.executable, "-c", "import signal; signal.pause()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()",
]


def watched(group: Group) -> Group:
    """Check the children of a group once, and return the group."""
    group.check_children()
    return group


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def group(lines: list[str]) -> Iterator[Group]:
    group = Group(lines.append, lines.append)
    yield group
    for child in group.children:
        if child.process:
            child.process.kill()
    group.stop()


def test_a_dead_child_is_started_again_at_once(group: Group, lines: list[str]) -> None:
    """
    When a child is killed after a minute, it is restarted at once with a new pid. The log has one line about its death.
    """
    group.start(Program("idle", IDLE))
    first = group.pids["idle"]
    group.children[0].started_at -= 60
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: watched(group).pids.get("idle", first) != first)
    deaths = [line for line in lines if "idle died" in line]
    assert len(deaths) == 1
    assert "killed by SIGKILL" in deaths[0]
    assert "started again at once" in deaths[0]


def test_a_child_that_dies_young_is_started_with_a_pause(group: Group, lines: list[str]) -> None:
    """A command that fails at once is restarted after a pause, which doubles each time up to a maximum."""
    group.start(Program("failing", [sys.executable, "-c", "raise SystemExit(3)"]))
    assert eventually(lambda: watched(group).children[0].fast_deaths >= 2)
    assert "failing died (exit code 3)" in lines[0]
    assert "in 0.5 s" in lines[0]
    assert [pause_s(number) for number in (0, 1, 2, 3, 20)] == [0.0, 0.5, 1.0, 2.0, 30.0]


def test_a_deaf_child_is_killed_after_its_grace(group: Group, lines: list[str]) -> None:
    """A child that ignores SIGTERM is killed when its grace period is over."""
    group.start(Program("deaf", STUBBORN, grace_s=0.2))
    assert eventually(lambda: "deaf | deaf" in lines)
    pid = group.pids["deaf"]
    group.stop()
    assert not alive(pid)
    assert any("did not stop within" in line for line in lines)


def test_not_ready_in_time_leaves_nothing_running(group: Group) -> None:
    """If a program is not ready in time, everything is stopped, and an error names the program."""
    group.start(Program("never", IDLE, ready=lambda: False))
    pid = group.pids["never"]
    with pytest.raises(NotReady, match="never"):
        group.wait_ready(0.2)
    assert not alive(pid)


def test_output_of_children_is_one_log(group: Group, lines: list[str]) -> None:
    """The log has each line of a child's stdout and stderr, with the name of the child."""
    group.start(Program("talker", [sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr)"]))
    assert eventually(lambda: {"talker | out", "talker | err"} <= set(lines))


def test_signals_stop_all_once() -> None:
    """SIGTERM to the parent stops the children in the reverse order of their start. The parent exits with 0."""
    code = """
import sys; from retouch_ops.processes import Group, Program
child = "import signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, [15]); print(sys.argv[1], 'runs', flush=True); "
child += "signal.sigwait([15]); print(sys.argv[1], 'ends', flush=True)"
group = Group(lambda line: print(line, flush=True), lambda line: print(line, flush=True))
with group.counting_signals():
    group.start(Program("first", [sys.executable, "-c", child, "first"]))
    group.start(Program("second", [sys.executable, "-c", child, "second"]))
    group.supervise()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    seen: list[str] = []
    while sum("runs" in line for line in seen) < 2:
        seen.append(parent.stdout.readline())
    parent.terminate()
    rest = parent.stdout.read()
    parent.stdout.close()
    assert parent.wait() == 0
    assert rest.index("second ends") < rest.index("first ends")


@pytest.mark.parametrize("way", ["replace_process", "watch"])
def test_a_tied_command_dies_with_its_parent(way: str) -> None:
    """
    When the parent of a command is killed, the command ends too. This holds for both functions that watch the parent.
    """
    tied = f"""
import os, subprocess, sys; sys.path.insert(0, {str(Path(parent_death.__file__).parent)!r})
run = "import sys; sys.path.insert(0, sys.argv[1]); import parent_death; "
run += "child = 'import os, signal; print(os.getpid(), flush=True); signal.pause()'; "
run += "parent_death.{way}(int(sys.argv[2]), 9, [sys.executable, '-c', child])"
subprocess.Popen([sys.executable, "-c", run, sys.path[0], str(os.getpid())]).wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", tied], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone = eventually(lambda: not alive(pid))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    assert gone


def test_a_command_is_not_started_for_a_dead_parent() -> None:
    """A command does not start if its parent is already dead."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", parent_death.__file__, "1999999", "9", sys.executable, "-c", "print('ran')"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == ""
    assert "the parent process 1999999 is gone" in ran.stderr


PARENT_OF_A_SLEEPER = """
import os, sys
from retouch_ops.processes import Group, Program
os.login_tty(int(sys.argv[1]))
group = Group(print)
with group.counting_signals():
    group.start(Program("sleeper", [sys.executable, "-c", "import signal; signal.pause()"]))
    print("pid", group.pids["sleeper"], flush=True)
    group.supervise()
"""


def test_a_closed_terminal_ends_all() -> None:
    """
    When the terminal of the parent is closed, the parent and its children end. A SIGHUP that was sent by hand ends
    nothing.
    """
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", PARENT_OF_A_SLEEPER, str(theirs)]
    with subprocess.Popen(command, pass_fds=[theirs], start_new_session=True) as parent:
        os.close(theirs)
        said = b""
        while b"\n" not in said:
            said += os.read(ours, 1_000)
        pid = int(said.split()[1])
        parent.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            parent.wait(0.5)
        os.close(ours)
        assert parent.wait(30) == -signal.SIGHUP
    assert eventually(lambda: not alive(pid))
