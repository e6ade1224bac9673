"""Where a job would stand if it were put in now: what is ahead of it, and which limit would make it wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from retouch.store import keys
from retouch.store.lanes import LaneNumbers, Lanes
from retouch.store.redis_commands import Client, Script
from retouch.store.scripts import load
from retouch.store.tenants import Tenant, TenantStore

Binding = Literal["none", "paused", "breaker", "budget", "backlog", "tenant_in_flight", "in_flight", "rate"]
NoRoom = Literal["", "backlog", "budget"]


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """
    The facts about one tenant's next job.

    `ahead`: jobs of its own tenant before it; `tenant_held`: slots that the tenant holds; `no_room`: `backlog` or
    `budget` where enqueueing would be refused; `rate`: dispatches per second, 0 is no limit; `weights` of tenants that
    have one.
    """

    lane: LaneNumbers
    tenant: Tenant
    ahead: int
    tenant_held: int
    no_room: NoRoom
    rate: float
    weights: Mapping[str, float]

    @property
    def position(self) -> int:
        """Its place over all tenants, from 1, by fairness: others get their share before it, and no more."""
        rounds = (self.ahead + 1) / self.tenant.weight
        others = (
            min(depth, round(rounds * self.weights.get(name, 1.0)))
            for name, depth in self.lane.waiting_by_group.items()
            if name != self.tenant.name
        )
        return self.ahead + sum(others) + 1

    @property
    def binding(self) -> Binding:
        """The limit that would make it wait, the longest wait first."""
        tenant, lane = self.tenant, self.lane
        told: tuple[tuple[Binding, bool], ...] = (
            ("budget", self.no_room == "budget"),
            ("backlog", self.no_room == "backlog"),
            ("paused", lane.paused),
            ("breaker", lane.breaker_open_s > 0),
            ("tenant_in_flight", tenant.in_flight_limit is not None and self.tenant_held >= tenant.in_flight_limit),
            ("in_flight", lane.held >= lane.limit),
            ("rate", self.rate > 0 and lane.waiting > 0),
        )
        return next((name for name, binds in told if binds), "none")


def queue_position(client: Client, tenant: str, boost_s: float) -> QueuePosition:
    """Read the facts for a job of this tenant, whose priority counts as so many seconds of age."""
    tenants, lane = TenantStore(client), Lanes(client).numbers("edits")
    with client.pipeline(transaction=False) as pipe:
        pipe.time().hget(keys.lane("edits", "held"), tenant).hget(keys.lane("edits", "gate"), "rate")
        pipe.hgetall(keys.lane("edits", "weights"))
        (seconds, _), held, rate, weights = pipe.execute()
    ahead = client.zcount(keys.lane("edits", f"backlog:{tenant}"), "-inf", seconds + 1 - boost_s)
    ask_room: Script[NoRoom] = load(client, "ask_room")
    return QueuePosition(
        lane=lane,
        tenant=tenants.tenant(tenant),
        ahead=int(ahead),
        tenant_held=int(held or 0),
        no_room=ask_room(args=[tenant]),
        rate=float(rate or 0),
        weights={name: float(weight) for name, weight in weights.items()},
    )
