"""
Reads the feed once for all requests that wait for events.

Each event is built once, however many requests watch its job.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property

import redis

from retouch.connections import Connections
from retouch.errors import StoreUnavailable
from retouch.events import Event, event_object
from retouch.feed import FeedEntry, last_cursor, next_page
from retouch.states import FINAL_EVENTS
from retouch.store.redis_client import clear_errors

_BEHIND_MOST = 256
_OUTAGE_PAUSE_S = 0.5
_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class WireEvent:
    """One event, ready to send. `data` is its JSON text in UTF-8, which all watchers of its job share."""

    sequence: int
    type: str
    data: bytes

    @property
    def is_final(self) -> bool:
        """Whether this event ended its job."""
        return self.type in FINAL_EVENTS


def wire_event(event: Event) -> WireEvent:
    """Return an event as a `WireEvent`, with its JSON text."""
    data = json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
    return WireEvent(event["data"]["sequence"], event["type"], data)


@dataclass(eq=False, slots=True)
class Watcher:
    """
    The new events of one job, for one request that watches the job.

    `lost` is true if the request read too slowly and missed events. The request must then read the job's record again.
    """

    pending: deque[WireEvent] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False

    def add(self, event: WireEvent) -> None:
        """Append an event and wake the request. If too many events are pending, drop this one and set `lost`."""
        # A watcher that does not read must not hold the memory of every later event.
        if len(self.pending) >= _BEHIND_MOST:
            self.lost = True
        else:
            self.pending.append(event)
        self.news.set()

    async def wait(self, within_s: float) -> list[WireEvent]:
        """Wait up to `within_s` seconds for an event; return all events since the last call, or an empty list."""
        if not self.pending:
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self.news.wait()
        self.news.clear()
        events, self.pending = list(self.pending), deque()
        return events


class EventHub:
    """The watchers of one process, and one task that reads the feed for them. The first watcher starts the task."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._watchers: dict[str, set[Watcher]] = {}
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._cursor = ""
        self._starting = asyncio.Lock()

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        # A thread of its own: it blocks on the feed nearly all the time.
        return ThreadPoolExecutor(1, thread_name_prefix="hub")

    @asynccontextmanager
    async def watch(self, job: str) -> AsyncIterator[Watcher]:
        """
        Context manager that yields a `Watcher`, which gets each new event of a job.

        Read the job's past events inside the block, so that no event is missed. The watcher may get some of them again.
        """
        await self._start()
        watcher = Watcher()
        self._watchers.setdefault(job, set()).add(watcher)
        try:
            yield watcher
        finally:
            watching = self._watchers[job]
            watching.discard(watcher)
            if not watching:
                del self._watchers[job]

    @asynccontextmanager
    async def listen(self, tenant: str) -> AsyncIterator[asyncio.Event]:
        """
        Context manager that yields an `asyncio.Event`. Each event of a job of the tenant sets it.

        If `tenant` is "", each event of any job sets it.
        """
        await self._start()
        news = asyncio.Event()
        self._listeners.setdefault(tenant, set()).add(news)
        try:
            yield news
        finally:
            listening = self._listeners[tenant]
            listening.discard(news)
            if not listening:
                del self._listeners[tenant]

    async def _start(self) -> None:
        # The cursor is read before a watcher reads past events, so that no event between the two is missed.
        async with self._starting:
            if self._reader is None or self._reader.done():
                self._cursor = await asyncio.get_running_loop().run_in_executor(self._thread, self._last)
                self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            try:
                tenants, events = await asyncio.get_running_loop().run_in_executor(self._thread, self._next)
                for job, event in events:
                    for watcher in self._watchers.get(job, ()):
                        watcher.add(event)
                for news in [listener for tenant in tenants for listener in self._listeners.get(tenant, ())]:
                    news.set()
            # An outage must not end the reader, since requests still wait for its events.
            except (redis.RedisError, StoreUnavailable, OSError, ValueError):
                await asyncio.sleep(_OUTAGE_PAUSE_S)

    def _last(self) -> str:
        with clear_errors():
            return last_cursor(self._connections.client)

    def _next(self) -> tuple[set[str], list[tuple[str, WireEvent]]]:
        """
        Read the next page of the feed. Return its tenants, and the (job, event) pairs of watched jobs.

        The tenants of a page also include "", which stands for all tenants. An empty page has no tenants.
        """
        # Shorter than the client's timeout, after which the wait would count as an outage.
        wait_s = min(_WAIT_S, self._connections.settings.redis_timeout_s / 2)
        page = next_page(self._connections.client, self._cursor, wait_s)
        watched = [entry for entry in page if entry.job in self._watchers]
        events = [event for entry in watched if (event := self._build(entry))]
        if page:
            self._cursor = page[-1].cursor
        return {name for entry in page for name in (entry.tenant, "")}, events

    def _build(self, entry: FeedEntry) -> tuple[str, WireEvent] | None:
        record, timeline_entry = self._connections.jobs.record_with_entry(entry.job, entry.sequence)
        if record is None or timeline_entry is None:
            return None
        price = self._connections.settings.price_per_call
        return entry.job, wire_event(event_object(record, timeline_entry, self._connections.blobs.link, price))

    async def close(self) -> None:
        """Stop reading the feed."""
        if self._reader:
            self._reader.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
