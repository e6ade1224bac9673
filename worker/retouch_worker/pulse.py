"""
The pulse of a worker process. One thread renews leases, one takes part in rescue, one runs retention, and one looks for
changed accounts.

A timer of Celery's would stop while the consumer reconnects to its broker, and the leases of paid calls would expire.
Renewal has a thread of its own, because the other work may take longer than a lease lasts. Rescue may wait for a broker
that does not answer, and retention deletes hundreds of images from a bucket.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Protocol

import redis

from retouch.publisher import Publisher
from retouch.settings import Settings
from retouch.store.lanes import Lanes
from retouch.store.redis_retry import trouble
from retouch.store.worker_presence import announcement
from retouch_worker.logs import log

TICK_S = 1.0
_SHORTEST_S = 0.05
_RETENTION_EVERY_S = 60.0


class Lease(Protocol):
    """The right of one worker to work on one item of a lane, until the lease expires."""

    lane: str

    @property
    def fence(self) -> int:
        """The number of the lease; each later lease of the same item has a higher number."""

    @property
    def item(self) -> str:
        """The item's id."""


class Pulse:
    """
    The four threads of one process.

    `sweep` is called once a minute: it runs one batch of retention and returns True if more may be due. `look` is
    called once a second: it checks whether the accounts have changed.
    """

    def __init__(
        self,
        lanes: Lanes,
        publisher: Publisher,
        settings: Settings,
        sweep: Callable[[], bool] = lambda: False,
        threads_for_deliveries: int = 0,
        works_on: Collection[str] = (),
        look: Callable[[], None] = lambda: None,
        served: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """
        Make the threads without starting them. `works_on` are the lanes of this process; it announces itself only if
        there are any. `served` returns the ids of the accounts that it serves.

        The attribute `worker` is the name of this process: its host and process id.
        """
        self._lanes, self._publisher, self._settings, self._sweep = lanes, publisher, settings, sweep
        self._look, self._served = look, served
        self.worker, self._threads_for_deliveries = f"{socket.gethostname()}:{os.getpid()}", threads_for_deliveries
        self._announcement = announcement(self.worker, works_on, version("retouch")) if works_on else ""
        self._leases: set[tuple[str, str, int]] = set()
        self._lock = threading.Lock()
        self._draining = self._behind = False
        self._threads = [
            threading.Thread(
                target=self._repeat, args=(work, first_due_s, pause_s), name=f"retouch-{name}", daemon=True
            )
            for name, work, first_due_s, pause_s in (
                ("pulse", self._renew, 0.0, min(TICK_S, settings.lease_s / 6)),
                ("rescue", self._rescue, 0.0, TICK_S),
                ("retention", self._run_retention, _RETENTION_EVERY_S, _RETENTION_EVERY_S),
                ("accounts", self._look_for_changes, TICK_S, TICK_S),
            )
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Stop rescuing, and go on renewing leases. Rescued work could be sent to this process, which is stopping."""
        self._draining = True
        with suppress(redis.RedisError):  # if Redis is away, the entry of this process expires by itself
            self._lanes.leave(self._announcement, self._threads_for_deliveries)

    @property
    def held(self) -> int:
        """The number of leases that this process holds now."""
        return len(self._leases)

    @contextmanager
    def renewing(self, lease: Lease) -> Iterator[None]:
        """
        Return a context manager that renews a lease during the block.

        If the block raises an error of Redis, the error is logged and raised again.
        """
        entry = (lease.lane, lease.item, lease.fence)
        with self._lock:
            self._leases.add(entry)
        try:
            yield
        except redis.RedisError as error:
            log.error("attempt_given_up", item=lease.item, error=type(error).__name__, reason=trouble(error))
            raise
        finally:
            with self._lock:
                self._leases.discard(entry)

    def _repeat(self, work: Callable[[], float], due_s: float, pause_s: float) -> None:
        """
        Call `work` for ever: first after `due_s` seconds, then after as many seconds as `work` returned.

        After an error, the next call is `pause_s` seconds later.
        """
        while True:
            time.sleep(max(due_s, _SHORTEST_S))
            due_s = pause_s
            try:
                due_s = work()
            except redis.RedisError as error:
                log.warning("store_away", error=type(error).__name__, reason=trouble(error), leases=self.held)
            except Exception as error:  # noqa: BLE001 - a dead pulse would lose the leases of paid calls
                log.error("pulse_failed", error=type(error).__name__, leases=self.held)

    def _renew(self) -> float:
        with self._lock:
            leases = list(self._leases)
        worker = "" if self._draining else self._announcement
        self._behind = bool(leases)
        accounts = () if self._draining else self._served()
        if leases or worker or accounts:
            lease_s, threads = self._settings.lease_s, self._threads_for_deliveries
            lost = self._lanes.heartbeat(lease_s, leases, worker, threads, accounts, self.worker)
            self._behind = False
            # An attempt that ended meanwhile has released its lease itself, so that lease was not lost.
            with self._lock:
                held_now = {item for _, item, _ in self._leases}
            for item in held_now.intersection(lost):
                log.warning("lease_lost", item=item)
        return self._settings.lease_s / 3

    def _rescue(self) -> float:
        if self._draining:
            return TICK_S
        # After an outage our own leases are renewed first, so that rescue does not regard them as expired.
        if self._behind:
            return _SHORTEST_S
        due_s, messages = self._lanes.rescue(TICK_S, self._settings.lease_s, self._settings.retention_s)
        self._publisher.publish(messages)
        return min(due_s, 2 * TICK_S, self._settings.lease_s / 6)

    def _look_for_changes(self) -> float:
        if not self._draining:
            self._look()
        return TICK_S

    def _run_retention(self) -> float:
        while not self._draining and self._sweep():
            pass
        return _RETENTION_EVERY_S
