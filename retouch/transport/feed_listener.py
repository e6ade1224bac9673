"""One reader of the feed for a whole client, which wakes whoever waits for a job."""

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
Reads the feed behind a cursor: the next cursor, and the jobs to which something happened since.

Waits up to a second where there is nothing. None asks for the cursor of the newest event, without any job.
"""


class Listener:
    """
    Wakes those who wait for jobs, by one reader of the feed however many they are.

    The reader runs while somebody follows a job, and looks once in `every_s` at the most often. It survives an outage;
    who waits then looks at the job again.
    """

    def __init__(self, concurrency: Concurrency, every_s: float = 0.0) -> None:
        self._concurrency, self._every_s = concurrency, every_s
        self._lock = threading.Lock()
        self._followers: dict[str, list[Signal]] = {}
        self._reads = False

    @asynccontextmanager
    async def follow(self, job: str, news: News) -> AsyncIterator[Signal]:
        """
        Give a signal that is set whenever something happens to the job. Read the job after this, then wait.

        `news` is kept no longer than somebody follows, so that a client nobody holds any more is freed at once.
        """
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
                except (RetouchError, OSError, ValueError):  # ValueError: closed under our hands
                    self._wake(None)
                    await self._concurrency.sleep(_OUTAGE_PAUSE_S)
                    continue
                # What happened before the first cursor was known has to be looked for by everybody.
                self._wake(jobs if cursor is not None else None)
                cursor = at
                await self._concurrency.sleep(max(0.0, next_at - time.monotonic()))
        except BaseException:  # cancelled: the next who waits starts another
            self._reads = False
            raise

    def _is_over(self) -> bool:
        with self._lock:
            self._reads = bool(self._followers)
            return not self._reads

    def _wake(self, jobs: set[str] | None) -> None:
        with self._lock:
            for job in self._followers.keys() if jobs is None else jobs & self._followers.keys():
                for changed in self._followers[job]:
                    changed.set()
