"""The receivers that fail now: since when, why, and when each is tried again. Read from an index, never by a search."""

from __future__ import annotations

from dataclasses import dataclass

from retouch.store import keys
from retouch.store.redis_commands import Client


@dataclass(frozen=True, slots=True)
class FailingReceiver:
    """
    One receiver without a success since `since` (Unix seconds, like the other instants).

    `id` is a receiver's, or `tenant task:name` of a Celery callback. `status` is None without an answer, and
    `trouble` says why. `next_at` is None when nothing waits; `shut_until` is None while the breaker is closed.
    """

    id: str
    tenant: str
    since: float
    failures: int
    status: int | None
    trouble: str
    last_at: float
    next_at: float | None
    shut_until: float | None


def failing_receivers(client: Client, tenant: str = "", start: int = 0, count: int = 100) -> list[FailingReceiver]:
    """List the receivers of one tenant, or of all, that fail, longest first; a page of at most `count`."""
    index = keys.lane("deliveries", f"failing:{tenant}" if tenant else "failing")
    ids = client.zrange(index, start, start + count - 1)
    with client.pipeline(transaction=False) as pipe:
        for identity in ids:
            pipe.hgetall(keys.lane("deliveries", f"health:{identity}"))
        healths = pipe.execute()
        for health in healths:
            pipe.zscore(keys.lane("deliveries", "shut"), health.get("target", ""))
        shut = pipe.execute()
    return [_read(*row) for row in zip(ids, healths, shut, strict=True) if row[1]]


def _read(identity: str, health: dict[str, str], shut_until: float | None) -> FailingReceiver:
    next_at = float(health["next_at"])
    return FailingReceiver(
        id=identity,
        tenant=health["tenant"],
        since=float(health["failing_since"]),
        failures=int(health["failures"]),
        status=int(health["status"]) if health["status"] else None,
        trouble=health["trouble"],
        last_at=float(health["last_at"]),
        next_at=max(next_at, shut_until or 0.0) if next_at else None,
        shut_until=shut_until,
    )
