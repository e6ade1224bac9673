"""Reads what workers write about themselves: the time of the last sweep, and their threads for deliveries."""

from __future__ import annotations

from dataclasses import dataclass

from retouch.store import keys
from retouch.store.redis_commands import Client

SWEEP_LATE_S = 10.0
"""Each worker process takes part in a sweep about once a second. After this time without one, no worker runs."""
_WORKERS_MOST = 200


@dataclass(frozen=True, slots=True)
class DeliveryWorker:
    """
    A worker process with threads for deliveries. If it sends no further heartbeat, it counts as present for another
    `counts_for_s` seconds.
    """

    name: str
    threads: int
    counts_for_s: float


@dataclass(frozen=True, slots=True)
class WorkerPresence:
    """The seconds since the last sweep of any worker (None: never), and the workers with delivery threads."""

    swept_ago_s: float | None
    deliveries: tuple[DeliveryWorker, ...]

    @property
    def is_alive(self) -> bool:
        """Return whether at least one worker process runs."""
        return self.swept_ago_s is not None and self.swept_ago_s < SWEEP_LATE_S


def worker_presence(client: Client) -> WorkerPresence:
    """Return the presence of workers. Workers without delivery threads are known only by the time of the last sweep."""
    # Workers write instants of Redis' clock; the clock of this machine may differ from it.
    seconds, microseconds = client.time()
    now, last_at = seconds + microseconds / 1e6, client.hget("rt:rescue", "last_at")
    known = keys.lane("deliveries", "workers")
    announced = client.zrevrangebyscore(known, "+inf", now, start=0, num=_WORKERS_MOST, withscores=True)
    workers = [
        DeliveryWorker(name.rpartition(" ")[0], int(name.rpartition(" ")[2]), until - now) for name, until in announced
    ]
    return WorkerPresence(now - float(last_at) if last_at else None, tuple(workers))
