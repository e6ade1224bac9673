"""
The pulse of a worker process: one thread renews its leases, one takes part in rescue, one clears away, one
looks whether the accounts have changed.

Threads of its own rather than Celery's timer: that one stands still while the consumer reconnects to its broker, and
then leases of paid calls would be lost for no reason. Renewing has one alone, since whatever else is done may take
longer than a lease lasts: rescue sends messages to a broker that may not answer, and clearing away deletes hundreds of
images from a bucket.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import redis

from retouch.publisher import Publisher
from retouch.settings import Settings
from retouch.store.lanes import Lanes
from retouch.store.redis_retry import trouble
from retouch_worker.logs import log

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
    """Heartbeats for the leases of this process, its turn at rescue and `look` once a second, `sweep` once a minute."""

    def __init__(
        self,
        lanes: Lanes,
        publisher: Publisher,
        settings: Settings,
        sweep: Callable[[], bool] = lambda: False,
        threads_for_deliveries: int = 0,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._lanes, self._publisher, self._settings, self._sweep = lanes, publisher, settings, sweep
        self._look = look
        self._worker, self._threads_for_deliveries = f"{socket.gethostname()}:{os.getpid()}", threads_for_deliveries
        self._leases: set[tuple[str, str, int]] = set()
        self._lock = threading.Lock()
        self._draining = self._behind = False
        self._threads = [
            threading.Thread(target=self._go_on, args=(turn, first_s, pause_s), name=f"retouch-{name}", daemon=True)
            for name, turn, first_s, pause_s in (
                ("pulse", self._renew, 0.0, min(TICK_S, settings.lease_s / 6)),
                ("rescue", self._rescue, 0.0, TICK_S),
                ("retention", self._clear, _CLEAR_EVERY_S, _CLEAR_EVERY_S),
                ("accounts", self._look_around, TICK_S, TICK_S),
            )
        ]

    def start(self) -> None:
        """Begin; leases are renewed from now on."""
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Stop rescuing, since what it calls for would come to a worker that leaves; go on renewing leases."""
        self._draining = True
        with suppress(redis.RedisError):  # else what this process announced ends by itself, with a lease's time
            self._lanes.leave(self._worker, self._threads_for_deliveries)

    @property
    def held(self) -> int:
        """How many leases this process holds now."""
        return len(self._leases)

    @contextmanager
    def keeping(self, lease: Lease) -> Iterator[None]:
        """Renew a lease for as long as the block runs; if Redis does not take what it found out, say so."""
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

    def _go_on(self, turn: Callable[[], float], due_s: float, pause_s: float) -> None:
        """Take turns for ever; each says after how many seconds the next is due. After one that failed, a pause."""
        while True:
            time.sleep(max(due_s, _SHORTEST_S))
            due_s = pause_s
            try:
                due_s = turn()
            except redis.RedisError as error:
                log.warning("store_away", error=type(error).__name__, reason=trouble(error), leases=self.held)
            except Exception as error:  # noqa: BLE001 - without a pulse every paid call of this process would be given up
                log.error("pulse_failed", error=type(error).__name__, leases=self.held)

    def _renew(self) -> float:
        with self._lock:
            leases = list(self._leases)
        worker = self._worker if self._threads_for_deliveries and not self._draining else ""
        self._behind = bool(leases)
        if leases or worker:
            lost = self._lanes.heartbeat(self._settings.lease_s, leases, worker, self._threads_for_deliveries)
            self._behind = False
            with self._lock:
                still_run = {item for _, item, _ in self._leases}
            for item in still_run.intersection(lost):
                log.warning("lease_lost", item=item)
        return self._settings.lease_s / 3

    def _rescue(self) -> float:
        if self._draining:
            return TICK_S
        if self._behind:  # Redis was away or refused: our own leases are renewed before anybody's are judged
            return _SHORTEST_S
        due_s, messages = self._lanes.rescue(TICK_S, self._settings.lease_s, self._settings.retention_s)
        self._publisher.publish(messages)
        return min(due_s, 2 * TICK_S, self._settings.lease_s / 6)

    def _look_around(self) -> float:
        if not self._draining:
            self._look()
        return TICK_S

    def _clear(self) -> float:
        while not self._draining and self._sweep():
            pass
        return _CLEAR_EVERY_S
