"""Computes the position that a job would have if it were enqueued now, and the limit that would make it wait."""

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
    What decides when a tenant's next job would run.

    `ahead` is the number of the tenant's own jobs that would run first, `tenant_held` the number of slots that the
    tenant holds. `no_room` is empty, or the reason why the job would be refused. `rate` is in dispatches per second, 0
    for no limit. `weights` has only the tenants with a weight of their own.
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
        """Return the job's position among the waiting jobs of all tenants, from 1."""
        # Fairness: before the job, each other tenant gets its share of dispatches and no more.
        rounds = (self.ahead + 1) / self.tenant.weight
        others = (
            min(depth, round(rounds * self.weights.get(name, 1.0)))
            for name, depth in self.lane.waiting_by_group.items()
            if name != self.tenant.name
        )
        return self.ahead + sum(others) + 1

    @property
    def binding(self) -> Binding:
        """
        Return the limit that would make the job wait, or `none`; of several limits, the one with the longest wait.
        """
        tenant, lane = self.tenant, self.lane
        limits: tuple[tuple[Binding, bool], ...] = (
            ("budget", self.no_room == "budget"),
            ("backlog", self.no_room == "backlog"),
            ("paused", lane.paused),
            ("breaker", lane.breaker_open_s > 0),
            ("tenant_in_flight", tenant.in_flight_limit is not None and self.tenant_held >= tenant.in_flight_limit),
            ("in_flight", lane.held >= lane.limit),
            ("rate", self.rate > 0 and lane.waiting > 0),
        )
        return next((name for name, binds in limits if binds), "none")


def queue_position(client: Client, tenant: str, boost_s: float) -> QueuePosition:
    """Read what decides when the tenant's next job would run; its priority counts as `boost_s` seconds of age."""
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
