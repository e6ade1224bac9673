"""Waits for one job. At a terminal, shows the job's state, the time so far, and the attempt."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from retouch.errors import ResultTimeout
from retouch.handles import EditResult, Job

_TICK_S = 0.5

Show = Callable[[str], None]


def wait_for(job: Job, timeout_s: float | None) -> EditResult:
    """
    Wait for a job and return its result.

    At a terminal, a line on standard error shows the progress. Elsewhere, a line shows only the id. Raises
    `EditFailed`, `EditCancelled`, or `ResultTimeout` after `timeout_s` seconds.
    """
    if not sys.stderr.isatty():
        print(f"{job.id}  enqueued", file=sys.stderr, flush=True)
        return job.result(timeout_s)
    started_at = time.monotonic()
    with _moving_line() as show:
        while True:
            spent_s = time.monotonic() - started_at
            left_s = _TICK_S if timeout_s is None else timeout_s - spent_s
            record = job.record()
            show(f"{job.id}  {record.state}, {spent_s:.0f} s, attempt {max(record.attempt, 1)}")
            try:
                return job.result(min(_TICK_S, max(left_s, 0.0)))
            except ResultTimeout:
                if left_s <= 0:
                    raise ResultTimeout(job.id, job.state, timeout_s or 0.0) from None


@contextmanager
def _moving_line() -> Iterator[Show]:
    # Imported here, since loading rich takes longer than most commands.
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update
