"""
Runs a command that must not outlive the process that started it: `python parent_death.py PARENT_PID SIGNAL COMMAND…`.

This file is run by its path and imports only the standard library, so it costs about 20 ms. On Linux, it asks the
kernel to send SIGNAL to the command when the parent dies, then replaces itself by the command. On other systems, it
runs the command as a child, watches the parent and forwards signals.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
LOOK_EVERY_S, LAST_GRACE_S = 0.2, 5.0


def tied_to_this_process(command: Sequence[str], death_signal: signal.Signals) -> list[str]:
    """Return a command line that runs `command`. If the calling process dies, the command gets `death_signal`."""
    # -I -S: only the standard library is imported, so looking for other packages would only cost time.
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(int(death_signal)), *command]


def replace_process(parent: int, death_signal: int, command: Sequence[str]) -> None:
    """
    Ask the kernel for a death signal, then replace this process by the command.

    The kernel sends the signal when the *thread* that started this process ends. If the parent died before the kernel
    was asked, exit without running the command.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(f"the parent process {parent} is gone, so {command[0]} is not started")
    os.execvp(command[0], list(command))  # noqa: S606 - a list of arguments, no shell


def watch(parent: int, death_signal: int, command: Sequence[str]) -> int:
    """
    Run the command as a child process and return its exit code.

    If the parent of this process dies first, the child gets `death_signal`, and SIGKILL 5 s later.
    """
    child = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    while child.poll() is None:
        if os.getppid() != parent:
            return _end(child, death_signal)
        time.sleep(LOOK_EVERY_S)
    return child.returncode


def _end(child: subprocess.Popen[bytes], death_signal: int) -> int:
    child.send_signal(death_signal)
    try:
        return child.wait(LAST_GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def main(arguments: Sequence[str]) -> int:
    """Run the command by `replace_process` on Linux, else by `watch`. Return the exit code of the command."""
    parent, death_signal, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        replace_process(parent, death_signal, command)
    return watch(parent, death_signal, command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
