"""Random accounts, pauses and jobs, with real scripts: each job gets an account that its tenant may use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retouch.accounts import Account
from retouch.store.accounts import AccountStore
from tests.account_kit import (
    post,
    several,
    succeed,
)
from tests.lane_kit import LaneKit, account


@st.composite
def mixtures(draw: st.DrawFn) -> list[Account]:
    """Draw some accounts with limits, tiers, weights, owners and fallbacks."""
    names = ["default", "b", "c", "d"][: draw(st.integers(1, 4))]
    return [
        account(
            name,
            draw(st.integers(1, 4)),
            tier=draw(st.integers(1, 2)),
            weight=draw(st.sampled_from([0.5, 1.0, 3.0])),
            tenants=tuple(draw(st.sets(st.sampled_from(["t1", "t2"]), max_size=2))) if draw(st.booleans()) else (),
            shared_fallback=draw(st.sampled_from(["never", "free_only", "always"])),
        )
        for name in names
    ]


def may_use(tenant: str, one: Account, accounts: Sequence[Account]) -> bool:
    own = [other for other in accounts if tenant in other.tenants]
    if one.tenants:
        return one in own
    return not any(other.shared_fallback == "never" for other in own)


class Mixture:
    """
    A lane with the given accounts and with jobs of four tenants. After each move, `check` asserts the rules of the
    choice.
    """

    tenants = ("t1", "t2", "t3", "t4")

    def __init__(self, client: Any, accounts: list[Account]) -> None:
        client.flushdb()
        self.client, self.accounts = client, {one.id: one for one in accounts}
        self.seen = set[tuple[str, str]]()
        self.kit, self.store, self.paused = LaneKit(client), AccountStore(client), set[str]()
        self.kit.open_accounts(*accounts)

    def move(self, move: str, number: int) -> None:
        """
        Make one move: enqueue jobs, end a job, or pause or resume an account. `number` selects the tenant, job or
        account.
        """
        if move == "put":
            several(self.kit, 1 + number % 5, self.tenants[number % 4])
        elif move == "toggle":
            self.toggle(list(self.accounts)[number % len(self.accounts)])
        elif dispatched := self.kit.dispatched():
            succeed(self.kit, post(self.kit, dispatched[number % len(dispatched)]))

    def toggle(self, name: str) -> None:
        (self.store.resume if name in self.paused else self.store.pause)(name)
        self.paused ^= {name}
        self.kit.make_due("edits", "slots")
        self.kit.rescue()

    def usable(self, tenant: str) -> list[Account]:
        everything = list(self.accounts.values())
        return [one for one in everything if may_use(tenant, one, everything)]

    def check(self) -> None:
        """
        Assert that no account exceeds its limit, that each job has the right account, and that no usable slot is idle.
        """
        records = self.kit.jobs.records(self.kit.dispatched())
        held = Counter(record.account for record in records)
        assert all(held[name] <= int(self.accounts[name].limit) for name in held)
        assert all(self.accounts[record.account] in self.usable(record.spec.tenant) for record in records)
        for tenant in self.tenants:
            if self.client.zcard(f"rt:edits:backlog:{tenant}"):
                open_ones = [one for one in self.usable(tenant) if one.id not in self.paused]
                assert all(held[one.id] >= int(one.limit) for one in open_ones), (tenant, held)
        for record in records:
            # After a move has freed a slot it only gives slots: an account that was full for a new job still is.
            if (record.id, record.account) not in self.seen:
                passed_over = self.before(record.account, record.spec.tenant)
                assert all(held[one.id] >= int(one.limit) for one in passed_over), (record.account, held)
        self.seen = {(record.id, record.account) for record in records}

    def before(self, name: str, tenant: str) -> list[Account]:
        """Return the open accounts that come before account `name` in the choice for a job of the tenant."""

        def rank(one: Account) -> tuple[bool, int]:
            return tenant not in one.tenants, one.tier

        open_ones = [one for one in self.usable(tenant) if one.id not in self.paused]
        return [one for one in open_ones if rank(one) < rank(self.accounts[name])]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    accounts=mixtures(),
    moves=st.lists(st.tuples(st.sampled_from(["put", "end", "end", "end", "toggle"]), st.integers(0, 99)), max_size=60),
)
def test_the_choice_is_right_whatever_comes(client: Any, accounts: list[Account], moves: list[tuple[str, int]]) -> None:
    """
    After each random move, the rules of `Mixture.check` hold. At the end, only tenants that may use no account have
    waiting jobs.
    """
    mixture = Mixture(client, accounts)
    for move, number in moves:
        mixture.move(move, number)
        mixture.check()
    for name in list(mixture.paused):
        mixture.toggle(name)
        mixture.check()
    while mixture.kit.dispatched():
        mixture.move("end", 0)
        mixture.check()
    for tenant in mixture.tenants:
        assert not mixture.usable(tenant) or not client.zcard(f"rt:edits:backlog:{tenant}"), f"{tenant} starves"
