"""Starts real processes in tests, stores their output, and checks whether they run; also waits for conditions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

QUIET = {"NO_COLOR": "1", "COLUMNS": "200", "RETOUCH_GATEWAY_PORT": "0", "RETOUCH_FLOWER_PORT": "0"}
"""Ports of 0 make `retouch up` take any free one."""


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not run."""
    try:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    except subprocess.CalledProcessError:
        return False
    return not state.strip().startswith("Z")


def eventually(condition: Callable[[], object], within_s: float = 40.0) -> bool:
    """Call `condition` every 20 ms. Return True once it is true, or False after `within_s` seconds."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return False


def own_environment(**more: str) -> dict[str, str]:
    """Return this process's environment, with QUIET and `more` in place of the RETOUCH_ variables."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RETOUCH_")}
    return plain | QUIET | more


def retouch(
    *arguments: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one `retouch` command in `folder` to its end, and return its CompletedProcess."""
    return subprocess.run(
        [sys.executable, "-m", "retouch_ops.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=own_environment(**(environment or {})),
    )


class Spoken:
    """
    A running process, with its output lines (stdout and stderr) in `lines`. At the end of a `with` block the process is
    killed.
    """

    def __init__(
        self, command: Sequence[str], *, folder: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=own_environment(**(environment or {})),
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            self.lines.extend(line.rstrip() for line in stream)

    def _said(self, text: str) -> str | None:
        return next((line for line in list(self.lines) if text in line), None)

    def wait_for(self, text: str, within_s: float = 60.0) -> str:
        """
        Return the first output line that contains `text`. If the process ends or `within_s` seconds pass without this
        line, fail with the whole output.
        """
        found = eventually(lambda: self._said(text) or self.process.poll() is not None, within_s) and self._said(text)
        assert found, f"never said {text!r}:\n" + "\n".join(self.lines)
        return str(found)

    def end(self, number: signal.Signals = signal.SIGTERM, within_s: float = 30.0) -> int:
        """Send a signal, wait until the process has ended and its output is read, and return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(within_s)
        self._reader.join(within_s)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)


def run_retouch(*arguments: str, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Spoken:
    """Start a `retouch` command in `folder` and return its process, without waiting for its end."""
    return Spoken([sys.executable, "-m", "retouch_ops.cli", *arguments], folder=folder, environment=environment)
