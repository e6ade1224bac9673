"""
The pulse of a worker process: one thread that renews its leases and takes part in rescue, one that clears away.

A thread of its own rather than Celery's timer: that one stands still while the consumer reconnects to its broker,
and then leases of paid calls would be lost for no reason. Clearing away has its own, since deleting hundreds of images
from a bucket takes longer than a lease lasts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import redis

from retouch.broker import Publisher
from retouch.settings import Settings
from retouch.store.lanes import Lanes
from worker.logs import log

TICK_S = 1.0
_SHORTEST_S = 0.05
_CLEAR_EVERY_S = 60.0


class Lease(Protocol):
    """What a worker holds: an item of a lane, under a fencing number."""

    lane: str

    @property
    def fence(self) -> int:
        """The number of the lease."""

    @property
    def item(self) -> str:
        """The item's id."""


class Pulse:
    """Heartbeats for the leases of this process, its turn at rescue about once a second, and `sweep` once a minute."""

    def __init__(
        self, lanes: Lanes, publisher: Publisher, settings: Settings, sweep: Callable[[], bool] = lambda: False
    ) -> None:
        self._lanes, self._publisher, self._settings, self._sweep = lanes, publisher, settings, sweep
        self._leases: set[tuple[str, str, int]] = set()
        self._lock = threading.Lock()
        self._draining = False
        self._threads = [
            threading.Thread(target=self._beat, name="retouch-pulse", daemon=True),
            threading.Thread(target=self._clear, name="retouch-retention", daemon=True),
        ]
        self._renewed_at = time.monotonic()

    def start(self) -> None:
        """Begin; leases are renewed from now on."""
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Stop rescuing, since what it calls for would come to a worker that leaves; go on renewing leases."""
        self._draining = True

    @property
    def held(self) -> int:
        """How many leases this process holds now."""
        return len(self._leases)

    @contextmanager
    def keeping(self, lease: Lease) -> Iterator[None]:
        """Renew a lease for as long as the block runs."""
        entry = (lease.lane, lease.item, lease.fence)
        with self._lock:
            self._leases.add(entry)
        try:
            yield
        finally:
            with self._lock:
                self._leases.discard(entry)

    def _beat(self) -> None:
        due_s = 0.0
        while True:
            time.sleep(max(due_s, _SHORTEST_S))
            try:
                self._renew()
                due_s = TICK_S if self._draining else self._rescue()
            except redis.RedisError as error:
                log.warning("store_away", error=type(error).__name__, leases=self.held)
                due_s = TICK_S
            except Exception as error:  # noqa: BLE001 - without a pulse every paid call of this process would be given up
                log.error("pulse_failed", error=type(error).__name__, leases=self.held)
                due_s = TICK_S

    def _renew(self) -> None:
        if time.monotonic() - self._renewed_at < self._settings.lease_s / 3:
            return
        with self._lock:
            leases = list(self._leases)
        if leases:
            lost = self._lanes.heartbeat(self._settings.lease_s, leases)
            with self._lock:
                still_run = {item for _, item, _ in self._leases}
            for item in still_run.intersection(lost):
                log.warning("lease_lost", item=item)
        self._renewed_at = time.monotonic()

    def _rescue(self) -> float:
        due_s, messages = self._lanes.rescue(TICK_S, self._settings.lease_s, self._settings.retention_s)
        self._publisher.publish(messages)
        return min(due_s, 2 * TICK_S, self._settings.lease_s / 6)

    def _clear(self) -> None:
        while True:
            time.sleep(_CLEAR_EVERY_S)
            try:
                while not self._draining and self._sweep():
                    pass
            except redis.RedisError as error:
                log.warning("store_away", error=type(error).__name__, leases=self.held)
