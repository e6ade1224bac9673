"""The feed from the reading side: pages of it by cursor, and a listener that wakes whoever waits for a job."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import redis

from retouch.store.connect import Client
from retouch.store.keys import FEED

_BLOCK_MS = 1_000
_PAGE = 1_000
_OUTAGE_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One event in the feed: where it is (`cursor`), and which entry of which job's timeline it points at."""

    cursor: str
    job: str
    sequence: int
    type: str
    tenant: str


def read_page(client: Client, after: str = "0", count: int = _PAGE) -> list[FeedEntry]:
    """Read the feed after a cursor (`"0"`: from its start), oldest first."""
    return [_entry(cursor, raw) for cursor, raw in client.xrange(FEED, min=f"({after}", count=count)]


def next_page(client: Client, after: str, wait_s: float = _BLOCK_MS / 1000, count: int = _PAGE) -> list[FeedEntry]:
    """
    Read the feed after a cursor, waiting up to `wait_s` seconds for news; empty when there was none.

    Stay below `redis_timeout_s`, or the wait itself looks like a silent Redis.
    """
    page = client.xread({FEED: after}, count=count, block=max(1, int(wait_s * 1000)))
    return [_entry(cursor, raw) for _, entries in page or () for cursor, raw in entries]


def last_cursor(client: Client) -> str:
    """Give the cursor of the newest event, `"0"` while there is none."""
    newest = client.xrevrange(FEED, count=1)
    return newest[0][0] if newest else "0"


def _entry(cursor: str, raw: dict[str, str]) -> FeedEntry:
    return FeedEntry(cursor, raw["job"], int(raw["sequence"]), raw["type"], raw["tenant"])


class Listener:
    """
    Wakes threads that wait for jobs: one reader of the feed for a whole process, however many wait.

    The reader runs while somebody follows a job. It survives an outage of Redis; who waits then reads the job again.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._followers: dict[str, list[threading.Event]] = {}
        self._reader: threading.Thread | None = None

    @contextmanager
    def follow(self, job: str) -> Iterator[threading.Event]:
        """Give an event that is set whenever something happens to the job. Read the job after this, then wait."""
        changed = threading.Event()
        with self._lock:
            self._followers.setdefault(job, []).append(changed)
            if self._reader is None:
                cursor = last_cursor(self._client)
                self._reader = threading.Thread(target=self._read, args=(cursor,), name="retouch-feed", daemon=True)
                self._reader.start()
        try:
            yield changed
        finally:
            with self._lock:
                self._followers[job].remove(changed)
                if not self._followers[job]:
                    del self._followers[job]

    def _read(self, cursor: str) -> None:
        while not self._is_over():
            try:
                page = self._client.xread({FEED: cursor}, count=_PAGE, block=_BLOCK_MS)
            except (redis.RedisError, OSError, ValueError):  # ValueError: closed under our hands by `EditQueue.close`
                self._wake_all()
                time.sleep(_OUTAGE_PAUSE_S)
                continue
            for _, entries in page or ():
                cursor = entries[-1][0]
                self._wake({raw["job"] for _, raw in entries})

    def _is_over(self) -> bool:
        with self._lock:
            if not self._followers:
                self._reader = None
            return not self._followers

    def _wake(self, jobs: set[str]) -> None:
        with self._lock:
            for job in jobs & self._followers.keys():
                for changed in self._followers[job]:
                    changed.set()

    def _wake_all(self) -> None:
        with self._lock, suppress(KeyError):
            for followers in self._followers.values():
                for changed in followers:
                    changed.set()
