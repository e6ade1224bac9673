"""
What workers write about themselves with each heartbeat, and how it is read: lanes, version, threads for deliveries, and
the time of the last sweep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from retouch.store import keys
from retouch.store.redis_commands import Client

SWEEP_LATE_S = 10.0
"""Each worker process takes part in a sweep about once a second. After this time without one, no worker runs."""

UNKNOWN = "unknown"
"""The version of a worker whose heartbeat has none: its release wrote only a name and a number of threads."""

_WORKERS_MOST, _SERVED_MOST = 200, 5_000


@dataclass(frozen=True, slots=True)
class Worker:
    """
    A worker process. If it sends no further heartbeat, it counts as present for another `counts_for_s` seconds.

    `threads` are its threads for deliveries, 0 if it works on edits only. `lanes` is empty if `version` is `UNKNOWN`.
    `accounts` are the accounts of the endpoint that it serves; empty if there is only one account.
    """

    name: str
    threads: int
    counts_for_s: float
    lanes: tuple[str, ...] = ()
    version: str = UNKNOWN
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerPresence:
    """The seconds since the last sweep of any worker (None: never), and the workers that have announced themselves."""

    swept_ago_s: float | None
    workers: tuple[Worker, ...]

    @property
    def is_alive(self) -> bool:
        """Return whether at least one worker process runs."""
        return self.swept_ago_s is not None and self.swept_ago_s < SWEEP_LATE_S


def announcement(name: str, lanes: Iterable[str], version: str) -> str:
    """
    Return the text by which a worker process announces itself in its heartbeat; none of the three has a space.

    The number of threads follows it in the index. Scripts of every release read that number from the end of the entry,
    so this text may grow.
    """
    return f"{name} {','.join(lanes)} {version}"


def worker_presence(client: Client) -> WorkerPresence:
    """Return the presence of workers. A worker that stops is no longer among them, although its last calls may run."""
    # Workers write instants of Redis' clock; the clock of this machine may differ from it.
    seconds, microseconds = client.time()
    now, last_at = seconds + microseconds / 1e6, client.hget("rt:rescue", "last_at")
    known = keys.lane("deliveries", "workers")
    announced = client.zrevrangebyscore(known, "+inf", now, start=0, num=_WORKERS_MOST, withscores=True)
    served = defaultdict[str, list[str]](list)
    for entry in client.zrangebyscore(keys.ACCOUNT_WORKERS, now, "+inf", start=0, num=_SERVED_MOST):
        account, _, process = entry.partition(" ")
        served[process].append(account)
    workers = tuple(_worker(entry, until - now, served) for entry, until in announced)
    return WorkerPresence(now - float(last_at) if last_at else None, workers)


def _worker(entry: str, counts_for_s: float, served: defaultdict[str, list[str]]) -> Worker:
    name, *about, threads = entry.split(" ")
    lanes, version = about[:2] if len(about) > 1 else ("", UNKNOWN)
    own = tuple(lane for lane in lanes.split(",") if lane)
    return Worker(name, int(threads), counts_for_s, own, version, tuple(sorted(served[name])))
