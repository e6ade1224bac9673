"""Reads what workers write about themselves: the time of the last sweep, and their threads for deliveries."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from retouch.store import keys
from retouch.store.redis_commands import Client

SWEEP_LATE_S = 10.0
"""Each worker process takes part in a sweep about once a second. After this time without one, no worker runs."""
_WORKERS_MOST, _SERVED_MOST = 200, 5_000


@dataclass(frozen=True, slots=True)
class DeliveryWorker:
    """
    A worker process with threads for deliveries. If it sends no further heartbeat, it counts as present for another
    `counts_for_s` seconds.

    `accounts` are the accounts of the endpoint that it serves; empty if there is only one account.
    """

    name: str
    threads: int
    counts_for_s: float
    accounts: tuple[str, ...] = ()


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
    served = defaultdict[str, list[str]](list)
    for entry in client.zrangebyscore(keys.ACCOUNT_WORKERS, now, "+inf", start=0, num=_SERVED_MOST):
        account, _, process = entry.partition(" ")
        served[process].append(account)
    workers = list[DeliveryWorker]()
    for entry, until in announced:
        name, _, threads = entry.rpartition(" ")
        workers.append(DeliveryWorker(name, int(threads), until - now, tuple(sorted(served[name]))))
    return WorkerPresence(now - float(last_at) if last_at else None, tuple(workers))
