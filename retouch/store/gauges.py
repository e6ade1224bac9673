"""The state of the store at one moment, for metrics: ages, budgets, receivers, Redis itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from heapq import nlargest
from typing import Any

from redis.exceptions import ResponseError

from retouch.batches import batched
from retouch.store import keys
from retouch.store.history import DAY_S
from retouch.store.lanes import Lanes
from retouch.store.redis_commands import Client

TENANTS_MOST = 50
"""How many tenants get a time series: Prometheus stores a series for each value of a label."""
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Gauges:
    """
    The state of the store at one moment. Ages are in seconds, and 0 if nothing waits or fails.

    `budget_left` has the calls left today of the 50 tenants that used the largest part of their budgets.
    `worker_seen_at` is when a worker last took part in rescue (Unix seconds), 0 for never. `redis_durable` and
    `redis_memory_ratio` are None if the Redis user of the store may not run INFO.
    """

    oldest_waiting_s: float
    oldest_due_delivery_s: float
    oldest_failing_receiver_s: float
    calls_reserved: int
    budget_left: Mapping[str, int]
    receivers_disabled: int
    closed_accounts: frozenset[str]
    worker_seen_at: float
    redis_durable: bool | None
    redis_memory_ratio: float | None


def read_gauges(client: Client) -> Gauges:
    """Return the present state of the store; this takes a few round trips."""
    lanes = Lanes(client)
    seconds, micros = client.time()
    now = seconds + micros / 1e6
    oldest = lanes.oldest_waiting(lanes.numbers("edits").waiting_by_group)
    reserved, left = _budgets(client, int(now // DAY_S))
    info = _info(client)
    return Gauges(
        oldest_waiting_s=max(0.0, now - oldest[1]) if oldest else 0.0,
        oldest_due_delivery_s=_age(now, _oldest_due(client, now)),
        oldest_failing_receiver_s=_age(now, _first_score(client, keys.lane("deliveries", "failing"))),
        calls_reserved=reserved,
        budget_left=left,
        receivers_disabled=client.scard(keys.RECEIVERS_DISABLED),
        closed_accounts=frozenset(["default"] if client.hget(keys.lane("edits", "gate"), "closed") else []),
        worker_seen_at=float(client.hget("rt:rescue", "last_at") or 0),
        redis_durable=_is_durable(info) if info else None,
        redis_memory_ratio=_memory_ratio(info) if info else None,
    )


def _age(now: float, at: float | None) -> float:
    return 0.0 if at is None else max(0.0, now - at)


def _first_score(client: Client, name: str) -> float | None:
    first = client.zrange(name, 0, 0)
    return client.zscore(name, first[0]) if first else None


def _oldest_due(client: Client, now: float) -> float | None:
    """Return the instant (Unix seconds) at which the most overdue delivery became due; None if no delivery is due."""
    with client.pipeline(transaction=False) as pipe:
        for ready in ("ready", "ready:unproven"):
            pipe.zrange(keys.lane("deliveries", ready), 0, -1)
        pipe.hkeys(keys.lane("deliveries", "held"))
        groups = sorted({group for names in pipe.execute() for group in names if group != "~"})
    names = [keys.lane("deliveries", f"backlog:{group}") for group in groups]
    scores = [_first_score(client, name) for name in (*names, keys.lane("deliveries", "timetable"))]
    return min((at for at in scores if at is not None and at <= now), default=None)


def _budgets(client: Client, day: int) -> tuple[int, dict[str, int]]:
    """
    Return (calls reserved for jobs in flight, {tenant: calls left today}).

    The dict has only the 50 tenants that used the largest part of their budgets.
    """
    budgets = {tenant: int(calls) for tenant, calls in client.hgetall("rt:edits:budgets").items()}
    reserved, used = 0, dict[str, int]()
    for tenants in batched(sorted(budgets), _CHUNK):
        with client.pipeline(transaction=False) as pipe:
            for tenant in tenants:
                pipe.hmget(f"rt:budget:{tenant}:{day}", "spent", "reserved")
            for tenant, (spent, held) in zip(tenants, pipe.execute(), strict=True):
                reserved += int(held or 0)
                used[tenant] = int(spent or 0) + int(held or 0)
    most = nlargest(TENANTS_MOST, used, key=lambda tenant: used[tenant] / budgets[tenant])
    return reserved, {tenant: max(0, budgets[tenant] - used[tenant]) for tenant in most}


def _info(client: Client) -> Mapping[str, Any] | None:
    try:
        return client.info()
    except ResponseError:  # the ACL of the Redis user may forbid INFO
        return None


def _is_durable(info: Mapping[str, Any]) -> bool:
    return bool(int(info.get("aof_enabled", 0))) and info.get("aof_last_write_status", "ok") == "ok"


def _memory_ratio(info: Mapping[str, Any]) -> float:
    most = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    return int(info.get("used_memory", 0)) / most if most else 0.0
