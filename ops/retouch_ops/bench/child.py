"""A child process whose CPU time and memory are measured, with those of its descendants. Linux only."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from retouch.errors import RetouchError
from retouch_ops import parent_death

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class NotMeasured(RetouchError):
    """A measurement failed. `retouch bench` still runs the other measurements."""


class MeasuredChild:
    """A child process in a session of its own, with a log file as its output. It is killed if this process dies."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                parent_death.tied_to_this_process(command, signal.SIGKILL),
                env=None if environment is None else dict(environment),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def cpu_s(self) -> float:
        """Return the CPU seconds of all processes in the child's session so far. Ended processes count too."""
        return sum(sum(map(int, stat[11:15])) for stat in self._stats()) / _TICKS_PER_S

    def rss_bytes(self) -> float:
        """Return the resident memory in bytes of all processes in the child's session."""
        return float(sum(int(stat[21]) * _PAGE_BYTES for stat in self._stats()))

    def pss_bytes(self) -> float:
        """Return the memory of the child process in bytes. A page that two processes share counts half."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return float(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024

    def _stats(self) -> Iterator[list[str]]:
        # Fields after the name, proc(5): 3 session; 11 to 14 CPU ticks, with ended children; 21 resident pages.
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(") ")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == self.process.pid:
                yield fields

    def check_alive(self) -> None:
        """Raise `NotMeasured`, with the last lines of the log, if the child has ended."""
        if self.process.poll() is not None:
            last = self.log.read_text(errors="replace").splitlines()[-3:]
            raise NotMeasured(f"{self.log.stem} ended with code {self.process.returncode}: {' / '.join(last)}")

    def ask(self, line: str) -> None:
        """Write a line to the child's standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """Kill the child and its session at once, since no measurement needs their data afterwards."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
