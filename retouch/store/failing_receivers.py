"""Reads from an index which receivers fail now, since when, why, and when the next attempt is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retouch.store import keys
from retouch.store.redis_commands import Client


@dataclass(frozen=True, slots=True)
class FailingReceiver:
    """
    One receiver that has had no success since `since` (Unix seconds, like the other instants).

    `id` is the receiver's id, or `tenant task:name` for a Celery callback. `status` is None if there was no answer;
    `trouble` then has the reason. `waiting` is how many deliveries to the same target wait or hold a slot. `shut_until`
    is None while the breaker of that target is closed. `next_at` is the earliest instant of the next attempt; it is
    None if no attempt is scheduled and the breaker is closed.
    """

    id: str
    tenant: str
    since: float
    failures: int
    status: int | None
    trouble: str
    last_at: float
    waiting: int
    next_at: float | None
    shut_until: float | None

    @property
    def reason(self) -> str:
        """Return why the last attempt failed: the status of the answer, or the trouble if no answer came."""
        return f"HTTP {self.status}" if self.status else self.trouble


def failing_receivers(client: Client, tenant: str = "", count: int = 100) -> list[FailingReceiver]:
    """Return up to `count` failing receivers, the longest failure first. An empty `tenant` means all tenants."""
    index = _index(tenant)
    while True:
        ids = client.zrange(index, 0, count - 1)
        found = failures_of(client, ids)
        gone = [identity for identity in ids if identity not in found]
        if not gone:
            return [found[identity] for identity in ids]
        # The record of a receiver ends 30 days after its last attempt, so its index entry ends here.
        client.zrem(index, *gone)


def failures_of(client: Client, identities: Sequence[str]) -> dict[str, FailingReceiver]:
    """Return {id: failing receiver} for each of these receivers that fails now; this takes two round trips."""
    with client.pipeline(transaction=False) as pipe:
        for identity in identities:
            pipe.hgetall(keys.lane("deliveries", f"health:{identity}"))
        healths = {identity: health for identity, health in zip(identities, pipe.execute(), strict=True) if health}
        for health in healths.values():
            pipe.zscore(keys.lane("deliveries", "shut"), health["target"])
            pipe.zcard(keys.lane("deliveries", f"waiting:{health['target']}"))
            pipe.zcard(keys.lane("deliveries", f"admitted:{health['target']}"))
        numbers = iter(pipe.execute())
    return {
        identity: _read(identity, health, next(numbers), next(numbers) + next(numbers))
        for identity, health in healths.items()
    }


def count_failing(client: Client, tenant: str = "") -> int:
    """Return how many receivers of one tenant fail now; an empty `tenant` means all tenants."""
    return int(client.zcard(_index(tenant)))


def count_shut(client: Client) -> int:
    """Return how many targets (hosts and Celery tasks) of all tenants have an open breaker."""
    return int(client.zcard(keys.lane("deliveries", "shut")))


def _index(tenant: str) -> str:
    return keys.lane("deliveries", f"failing:{tenant}" if tenant else "failing")


def _read(identity: str, health: dict[str, str], shut_until: float | None, waiting: int) -> FailingReceiver:
    next_at = float(health["next_at"])
    return FailingReceiver(
        id=identity,
        tenant=health["tenant"],
        since=float(health["failing_since"]),
        failures=int(health["failures"]),
        status=int(health["status"]) if health["status"] else None,
        trouble=health["trouble"],
        last_at=float(health["last_at"]),
        waiting=waiting,
        next_at=max(next_at, shut_until or 0.0) if next_at else shut_until,
        shut_until=shut_until,
    )
