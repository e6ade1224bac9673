"""Reads the feed with one reader for each client, and wakes the threads or tasks that wait for a job."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from retouch.concurrency import Concurrency, Signal
from retouch.errors import RetouchError

_OUTAGE_PAUSE_S = 0.2

News = Callable[[str | None], Awaitable[tuple[str, set[str]]]]
"""
A function that reads the feed after a cursor. It returns the next cursor, and the ids of the jobs that had events.

It waits up to a second if there is no event. For None it returns the cursor of the newest event, and no job.
"""


class Listener:
    """
    Wakes the threads or tasks that wait for jobs, with one reader of the feed for all of them.

    The reader runs while any job is followed, and reads at most once in `every_s` seconds. During an outage it tries
    again every 0.2 s, and wakes all waiting threads or tasks each time.
    """

    def __init__(self, concurrency: Concurrency, every_s: float = 0.0) -> None:
        self._concurrency, self._every_s = concurrency, every_s
        self._lock = threading.Lock()
        self._followers: dict[str, list[Signal]] = {}
        self._reads = False

    @asynccontextmanager
    async def follow(self, job: str, news: News) -> AsyncIterator[Signal]:
        """
        Return an async context manager that yields a signal, which is set whenever the job has an event.

        Inside the block, the caller must first read the job, and then wait for the signal.
        """
        # `news` belongs to a client. It is not kept here, so that a client which nobody uses any more is freed.
        changed = self._concurrency.signal()
        with self._lock:
            self._followers.setdefault(job, []).append(changed)
            starts, self._reads = not self._reads, True
        if starts:
            self._concurrency.start(self._read(news))
        try:
            yield changed
        finally:
            with self._lock:
                self._followers[job].remove(changed)
                if not self._followers[job]:
                    del self._followers[job]

    async def _read(self, news: News) -> None:
        cursor: str | None = None
        try:
            while not self._is_over():
                next_at = time.monotonic() + self._every_s
                try:
                    at, jobs = await news(cursor)
                except (RetouchError, OSError, ValueError):  # ValueError: the connection was closed during the call
                    self._wake(None)
                    await self._concurrency.sleep(_OUTAGE_PAUSE_S)
                    continue
                # Events before the first cursor are in no page, so all that wait must read their job once.
                self._wake(jobs if cursor is not None else None)
                cursor = at
                await self._concurrency.sleep(max(0.0, next_at - time.monotonic()))
        except BaseException:  # the task was cancelled; the next call of `follow` starts another reader
            self._reads = False
            raise

    def _is_over(self) -> bool:
        with self._lock:
            self._reads = bool(self._followers)
            return not self._reads

    def _wake(self, jobs: set[str] | None) -> None:
        """Set the signals of these jobs; None stands for all jobs that are followed."""
        with self._lock:
            for job in self._followers.keys() if jobs is None else jobs & self._followers.keys():
                for changed in self._followers[job]:
                    changed.set()
