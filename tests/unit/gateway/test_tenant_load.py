"""How much of the gateway each tenant uses, which tenant counts as busy, and how fast use is forgotten."""

from __future__ import annotations

import math
import weakref
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch_producer.gateway.http.tenant_load import BUSY_S, BUSY_TIMES, MEMORY_S, PRESENT_S, TenantLoad


class Clock:
    """A clock that returns `now`, which the test sets."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Name(str):
    """A name of a tenant; a weak reference shows whether it is still in memory."""


class CountingLoad(TenantLoad):
    """Counts how many loads are looked at."""

    looked_at = 0

    def of(self, tenant: str) -> float:
        self.looked_at += 1
        return super().of(tenant)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def load(clock: Clock) -> TenantLoad:
    return TenantLoad(clock)


def test_a_tenant_alone_is_never_busy(load: TenantLoad) -> None:
    """A tenant that is alone is not busy, however much it uses."""
    load.note("acme", 100.0)
    assert not load.is_busy("acme")
    assert not load.is_busy("unknown")


def test_who_uses_much_beside_who_uses_little_is_busy(load: TenantLoad, clock: Clock) -> None:
    """
    A tenant that uses much is busy if another present tenant uses little. Use is forgotten within seconds, and the
    presence of a tenant within minutes.
    """
    load.note("acme", 10.0)
    load.note("small", 0.1)
    assert load.is_busy("acme")
    assert not load.is_busy("small")
    clock.now += MEMORY_S
    assert load.of("acme") == pytest.approx(10.0 / math.e)
    clock.now += PRESENT_S / 2
    load.note("acme", 10.0)
    assert load.is_busy("acme"), "small was here five minutes ago"
    clock.now += PRESENT_S / 2
    load.note("acme", 10.0)
    assert not load.is_busy("acme"), "small was not here for ten minutes"
    assert load.is_alone("acme")
    load.note("small", 0.1)
    assert load.is_busy("acme")


def test_a_new_tenant_is_present_at_once(load: TenantLoad) -> None:
    """A tenant is busy from the moment at which another tenant has its first request."""
    load.note("acme", 10.0)
    assert load.is_alone("acme")
    load.note("small", 0.1)
    assert not load.is_alone("acme")
    assert load.is_busy("acme")


def test_absent_tenants_take_no_memory(load: TenantLoad, clock: Clock) -> None:
    """The load of an absent tenant is forgotten, also where nobody asks which tenants are busy."""
    names = [Name(f"tenant {number}") for number in range(100)]
    for name in names:
        load.note(name, 0.1)
    kept = [weakref.ref(name) for name in names]
    del names, name
    clock.now += PRESENT_S + 1.0
    load.note("acme", 0.1)
    assert [one for one in kept if one() is not None] == []


def test_a_look_costs_the_same_beside_many_tenants(clock: Clock) -> None:
    """Whether a tenant is busy is decided after a look at a few others, however many are present."""
    load = CountingLoad(clock)
    for number in range(10_000):
        load.note(f"tenant {number}", 0.01)
    load.note("acme", 10.0)
    load.looked_at = 0
    assert load.is_busy("acme")
    assert not load.is_alone("acme")
    assert load.looked_at < 10


def test_tenants_that_use_the_same_are_not_busy(load: TenantLoad) -> None:
    """If two tenants use the gateway equally, neither is busy, even if both use it much."""
    for tenant in ("a", "b"):
        load.note(tenant, 10.0)
    assert not load.is_busy("a")


def test_timed_adds_the_duration_and_reports_it(load: TenantLoad, clock: Clock) -> None:
    """The duration of a block is added to the tenant's load and passed to `on_note`, also if the block raises."""
    noted: list[tuple[str, float]] = []
    load.on_note = lambda tenant, seconds: noted.append((tenant, seconds))
    with suppress(ZeroDivisionError), load.timed("acme"):
        clock.now += 2.0
        _ = 1 / 0
    assert noted == [("acme", 2.0)]
    assert load.of("acme") == 2.0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0.0, 5.0), st.floats(0.0, 3.0)), max_size=60))
def test_who_is_busy_uses_much_more_than_another(steps: list[tuple[str, float, float]]) -> None:
    """
    After any steps, a busy tenant has used at least BUSY_S, and at least BUSY_TIMES as much as the tenant that used
    least.
    """
    clock = Clock()
    load = TenantLoad(clock)
    seen = set()
    for tenant, seconds, pause_s in steps:
        load.note(tenant, seconds)
        seen.add(tenant)
        clock.now += pause_s
        loads = {name: load.of(name) for name in "abcd"}
        for name in "abcd":
            others = [one for other, one in loads.items() if other != name and other in seen]
            if load.is_busy(name):
                assert loads[name] >= BUSY_S
                assert loads[name] >= BUSY_TIMES * min(others)
