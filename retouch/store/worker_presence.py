"""What the store knows of workers: when one last swept, and which announced threads for deliveries."""

from __future__ import annotations

import time
from dataclasses import dataclass

from retouch.store import keys
from retouch.store.redis_commands import Client

SWEEP_LATE_S = 10.0
"""Each worker process takes part in a sweep about once a second; so long without one means that none runs."""
_WORKERS_MOST = 200


@dataclass(frozen=True, slots=True)
class DeliveryWorker:
    """A worker process with threads for deliveries; `name` is host and process, `counts_for_s` until it is given up."""

    name: str
    threads: int
    counts_for_s: float


@dataclass(frozen=True, slots=True)
class WorkerPresence:
    """When any worker last swept, in seconds ago (None: never), and the workers that announced delivery threads."""

    swept_ago_s: float | None
    deliveries: tuple[DeliveryWorker, ...]

    @property
    def is_alive(self) -> bool:
        """True when at least one worker process runs."""
        return self.swept_ago_s is not None and self.swept_ago_s < SWEEP_LATE_S


def worker_presence(client: Client) -> WorkerPresence:
    """Read what workers left in the store; a worker of lane `edits` alone shows in the sweeps only."""
    now, last_at = time.time(), client.hget("rt:rescue", "last_at")
    known = keys.lane("deliveries", "workers")
    announced = client.zrevrangebyscore(known, "+inf", now, start=0, num=_WORKERS_MOST, withscores=True)
    workers = [
        DeliveryWorker(name.rpartition(" ")[0], int(name.rpartition(" ")[2]), until - now) for name, until in announced
    ]
    return WorkerPresence(now - float(last_at) if last_at else None, tuple(workers))
