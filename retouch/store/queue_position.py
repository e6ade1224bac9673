"""Computes the position that a job would have if it were enqueued now, and the limit that would make it wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from retouch.store import keys
from retouch.store.accounts import AccountNumbers, AccountStore, accounts_for
from retouch.store.lanes import LaneNumbers, Lanes
from retouch.store.redis_commands import Client, Script
from retouch.store.scripts import load
from retouch.store.tenants import Tenant, TenantStore

Binding = Literal["none", "paused", "breaker", "budget", "backlog", "tenant_in_flight", "account", "in_flight", "rate"]
NoRoom = Literal["", "backlog", "budget"]


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """
    The facts about the job that a tenant would enqueue next.

    `ahead` is the number of the tenant's jobs before it. `tenant_held` is the number of slots that the tenant has.
    `no_room` is `backlog` or `budget` if the job would be refused. `rate` is in dispatches per second, 0 for no limit.
    `weights` has the weights that were set for tenants.

    With several accounts, `accounts` are the accounts to which the tenant's jobs may go. `account` is the id of the
    account to which the job would go now, or empty if it would have to wait. In `lane`, the limit, the held slots and
    the breaker are then those of the accounts that take jobs.
    """

    lane: LaneNumbers
    tenant: Tenant
    ahead: int
    tenant_held: int
    no_room: NoRoom
    rate: float
    weights: Mapping[str, float]
    accounts: Sequence[AccountNumbers] = ()
    account: str = ""

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

    def per_s(self, usual_s: float) -> float:
        """Return how many jobs are dispatched per second if each takes `usual_s` seconds and every slot is used."""
        gates = [(account.limit, account.rate_per_s) for account in self.accounts if account.takes_jobs]
        if not self.accounts:
            gates = [(self.lane.limit, self.rate)]
        return sum(min(limit / usual_s, rate or float("inf")) for limit, rate in gates)

    @property
    def binding(self) -> Binding:
        """Return the limit that would make the job wait the longest, or `none`."""
        tenant, lane = self.tenant, self.lane
        is_shut = bool(self.accounts) and not any(account.takes_jobs for account in self.accounts)
        is_full = not self.account if self.accounts else lane.held >= lane.limit
        limits: tuple[tuple[Binding, bool], ...] = (
            ("budget", self.no_room == "budget"),
            ("backlog", self.no_room == "backlog"),
            ("paused", lane.paused),
            ("account", is_shut),
            ("breaker", lane.breaker_open_s > 0),
            ("tenant_in_flight", tenant.in_flight_limit is not None and self.tenant_held >= tenant.in_flight_limit),
            ("in_flight", is_full),
            ("rate", self.rate > 0 and lane.waiting > 0),
        )
        return next((name for name, binds in limits if binds), "none")


def queue_position(client: Client, tenant: str, boost_s: float) -> QueuePosition:
    """Return the facts about a tenant's next job, whose priority counts as `boost_s` seconds of age."""
    tenants, lane = TenantStore(client), Lanes(client).numbers("edits")
    with client.pipeline(transaction=False) as pipe:
        pipe.time().hget(keys.lane("edits", "held"), tenant).hget(keys.lane("edits", "gate"), "rate")
        pipe.hgetall(keys.lane("edits", "weights"))
        (seconds, _), held, rate, weights = pipe.execute()
    ahead = client.zcount(keys.lane("edits", f"backlog:{tenant}"), "-inf", seconds + 1 - boost_s)
    ask_room: Script[NoRoom] = load(client, "ask_room")
    ask_account: Script[str] = load(client, "ask_account")
    accounts = accounts_for(tenant, AccountStore(client).all())
    if accounts:
        lane = _lane_of(lane, accounts)
        rate = sum(account.rate_per_s for account in accounts if all(one.rate_per_s for one in accounts))
    return QueuePosition(
        lane=lane,
        tenant=tenants.tenant(tenant),
        ahead=int(ahead),
        tenant_held=int(held or 0),
        no_room=ask_room(args=[tenant]),
        rate=float(rate or 0),
        weights={name: float(weight) for name, weight in weights.items()},
        accounts=accounts,
        account=ask_account(args=[tenant]) if accounts else "",
    )


def _lane_of(lane: LaneNumbers, accounts: Sequence[AccountNumbers]) -> LaneNumbers:
    """Return the lane's numbers, with the limit, held slots and breaker of the accounts that take jobs."""
    open_ones = [account for account in accounts if account.takes_jobs]
    return replace(
        lane,
        held=sum(account.held for account in open_ones),
        limit=sum(account.limit for account in open_ones),
        breaker_open_s=min((account.breaker_open_s for account in open_ones), default=0.0),
    )
