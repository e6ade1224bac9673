"""Tests with real scripts: while some hosts hang, the deliveries to other hosts still get slots."""

from __future__ import annotations

from typing import Any

import pytest

from retouch.outcomes import Succeed
from retouch.store.deliveries import DeliveryClaim
from retouch.store.failing_receivers import count_failing, count_shut, failing_receivers, failures_of
from retouch_worker.deliveries.schedule import DeliveryOutcome, settlement_of
from tests.lane_kit import IMAGE, LEASE_S, LaneKit, assert_consistent

THREADS = 64


@pytest.fixture
def kit(client: Any) -> LaneKit:
    kit = LaneKit(client)
    kit.open(10_000, 0.0)
    kit.lanes.heartbeat(LEASE_S, [], "test:1", THREADS)
    return kit


def ended(kit: LaneKit, tenant: str, url: str, count: int = 1) -> None:
    """Let `count` jobs of a tenant succeed, with one event to the URL for each job."""
    receiver = kit.receivers.ensure(tenant, url)
    new = [kit.new(tenant, receivers=(receiver.id,)) for _ in range(count)]
    kit.enqueue(*new)
    for job in new:
        kit.finish(job.id, Succeed(IMAGE))


def under_way(kit: LaneKit) -> list[DeliveryClaim]:
    """Claim the dispatched deliveries, and return the claims."""
    claims = (kit.deliveries.claim(item, LEASE_S) for item in kit.dispatched("deliveries"))
    return [claim for claim in claims if claim]


def settle(kit: LaneKit, claim: DeliveryClaim, status: int | None, elapsed_s: float = 0.01) -> None:
    outcome = DeliveryOutcome(status, "" if status else "timeout", elapsed_s=elapsed_s)
    kit.deliveries.settle(claim, settlement_of(outcome, claim.number, claim.by_hand, 0.0, 0.5))


def prove(kit: LaneKit, tenant: str, url: str, count: int = 4) -> None:
    """Deliver `count` events quickly to a host, so that the host is proven and has the largest window."""
    ended(kit, tenant, url, count)
    while claims := under_way(kit):
        for claim in claims:
            settle(kit, claim, 204)


def test_a_hundred_urls_at_one_hanging_host_hold_one_slot(kit: LaneKit, client: Any) -> None:
    """A hundred URLs at one host together get one slot. Another tenant's delivery is dispatched at the same time."""
    for number in range(100):
        ended(kit, "sick", f"https://hanging.example/order/{number}")
    ended(kit, "well", "https://well.example/hook")
    assert sorted(claim.tenant for claim in under_way(kit)) == ["sick", "well"]
    assert kit.lanes.numbers("deliveries").waiting_by_group == {"sick": 99}
    assert_consistent(client, [])


@pytest.mark.parametrize(
    "url",
    ["https://HANGING.example/2", "https://hanging.example./3", "https://hanging.example?4", "https://hanging.example"],
)
def test_the_same_host_in_another_spelling_is_the_same_target(kit: LaneKit, url: str) -> None:
    """URLs that differ in the case of the host, a final dot or the path have one target."""
    ended(kit, "sick", "https://hanging.example/1")
    ended(kit, "sick", url)
    assert len(under_way(kit)) == 1


def test_a_host_that_hangs_for_one_tenant_is_open_to_another(kit: LaneKit, client: Any) -> None:
    """Each tenant has its own breaker and limit for a host."""
    for url in (f"https://shared.example/{number}" for number in range(12)):
        ended(kit, "sick", url)
    for _ in range(10):
        for claim in under_way(kit):
            settle(kit, claim, None, 15.0)
    assert client.zrange("rt:deliveries:shut", 0, -1) == ["sick shared.example"]
    ended(kit, "well", "https://shared.example/hook")
    (claim,) = under_way(kit)
    assert claim.tenant == "well"


def test_the_unproven_hold_at_most_half_of_the_slots(kit: LaneKit, client: Any) -> None:
    """Deliveries to 200 unproven targets get half of the slots. Deliveries to a proven target get slots at once."""
    prove(kit, "well", "https://well.example/hook")
    for tenant in range(10):
        for host in range(20):
            ended(kit, f"sick{tenant}", f"https://h{host}.example/hook")
    assert len(under_way(kit)) == THREADS // 2
    ended(kit, "well", "https://well.example/hook", 8)
    assert [claim.tenant for claim in under_way(kit)] == ["well"] * 8
    assert_consistent(client, [])


def test_one_tenants_unproven_hosts_leave_room_for_anothers(kit: LaneKit) -> None:
    """
    Deliveries to many new hosts of one tenant get eight slots together, and four after timeouts. Another tenant still
    gets a slot at once.
    """
    for host in range(60):
        ended(kit, "sick", f"https://h{host}.example/hook")
    first = under_way(kit)
    assert len(first) == 8
    ended(kit, "new", "https://new.example/hook")
    (claim,) = under_way(kit)
    assert claim.tenant == "new"
    for claim in first:
        settle(kit, claim, None, 15.0)
    assert len(under_way(kit)) == 4


def test_hosts_that_answer_are_tried_ever_faster(kit: LaneKit) -> None:
    """When every tenth of 200 new receivers hangs, all others get their event before the first timeout."""
    for host in range(200):
        ended(kit, "acme", f"https://{'hanging' if host % 10 == 0 else 'well'}-{host}.example/hook")
    hanging, answered = [], 0
    while claims := under_way(kit):
        for claim in claims:
            receiver = kit.receivers.get(claim.receiver)
            assert receiver is not None
            if "hanging" in receiver.url:
                hanging.append(claim)
            else:
                settle(kit, claim, 204)
                answered += 1
    assert (len(hanging), answered) == (20, 180)


def test_a_host_that_begins_to_hang_goes_back_to_one_place(kit: LaneKit, client: Any) -> None:
    """After a timeout, a proven host gets one delivery at a time, and counts as unproven."""
    prove(kit, "acme", "https://odd.example/hook")
    ended(kit, "acme", "https://odd.example/hook", 30)
    claims = under_way(kit)
    assert len(claims) == 8
    for claim in claims[:-1]:
        settle(kit, claim, None, 15.0)
        assert under_way(kit) == []
    settle(kit, claims[-1], None, 15.0)
    assert len(under_way(kit)) == 1
    assert client.hget("rt:deliveries:held", "~acme") == "1"
    assert_consistent(client, [])


def test_slow_receivers_get_deliveries_and_stay_among_the_unproven(kit: LaneKit, client: Any) -> None:
    """A receiver that takes seconds to answer gets up to eight of the slots for unproven targets."""
    ended(kit, "slow", "https://slow.example/hook", 40)
    for _ in range(4):
        for claim in under_way(kit):
            settle(kit, claim, 204, 3.0)
    assert client.hgetall("rt:deliveries:held") == {"~slow": "8", "~": "8"}


def test_no_more_is_dispatched_than_workers_have_threads(kit: LaneKit, client: Any) -> None:
    """
    The limit is the sum of the threads of all living workers. A worker that stopped or has no heartbeat does not count.
    """
    kit.lanes.heartbeat(LEASE_S, [], "test:2", 10)
    assert kit.lanes.numbers("deliveries").limit == THREADS + 10
    kit.lanes.leave("test:2", 10)
    client.zadd("rt:deliveries:workers", {f"test:1 {THREADS}": 1.0})
    kit.lanes.heartbeat(LEASE_S, [], "test:3", 6)
    assert kit.lanes.numbers("deliveries").limit == 6
    for number in range(40):
        ended(kit, f"tenant{number}", "https://well.example/hook")
    assert len(under_way(kit)) == 3


def test_tenants_take_turns_whatever_number_of_hosts_they_have(kit: LaneKit, client: Any) -> None:
    """Two tenants get slots in turn, even if one has deliveries at fifty hosts and the other at one host."""
    for host in range(50):
        prove(kit, "large", f"https://h{host}.example/hook")
    prove(kit, "small", "https://small.example/hook")
    client.hset("rt:deliveries:gate", "paused", 1)
    for host in range(50):
        ended(kit, "large", f"https://h{host}.example/hook", 4)
    ended(kit, "small", "https://small.example/hook", 10)
    client.hdel("rt:deliveries:gate", "paused")
    kit.lanes.heartbeat(LEASE_S, [], "test:1", THREADS)
    client.zrem("rt:deliveries:workers", f"test:1 {THREADS}")
    kit.lanes.heartbeat(LEASE_S, [], "test:2", 8)
    kit.rescue()
    order = []
    for _ in range(10):
        for claim in under_way(kit):
            order.append(claim.tenant)
            settle(kit, claim, 204)
    assert order[:20].count("small") >= 8


def test_callbacks_of_tenants_do_not_wait_for_each_other(kit: LaneKit) -> None:
    """If two tenants name the same Celery task for callbacks, each tenant has its own limit for this task."""
    for tenant in ("a", "b"):
        for _ in range(3):
            job = kit.new(tenant, callback="billing.tasks.edited@billing")
            kit.enqueue(job)
            kit.finish(job.id, Succeed(IMAGE))
    assert sorted(claim.tenant for claim in under_way(kit)) == ["a", "b"]


def test_receivers_that_fail_are_found_by_tenant_until_they_succeed(kit: LaneKit, client: Any) -> None:
    """
    A failing receiver is listed for its tenant, with start, reason and next attempt. After a success or a removal, the
    receiver is no longer listed.
    """
    ended(kit, "one", "https://hanging.example/hook")
    ended(kit, "two", "https://failing.example/hook")
    for claim in under_way(kit):
        settle(kit, claim, None if claim.tenant == "one" else 500, 15.0)
    (one,), (two,) = failing_receivers(client, "one"), failing_receivers(client, "two")
    assert (one.status, one.trouble, one.failures, two.status) == (None, "timeout", 1, 500)
    assert one.next_at is not None
    assert one.next_at - one.since >= 60
    assert (one.waiting, one.reason, two.reason) == (0, "timeout", "HTTP 500")
    assert (count_failing(client), count_failing(client, "one")) == (2, 1)
    assert failures_of(client, [one.id, "rc_another"]) == {one.id: one}
    assert {failing.tenant for failing in failing_receivers(client)} == {"one", "two"}
    kit.make_due("deliveries", "timetable")
    kit.rescue()
    for claim in under_way(kit):
        if claim.tenant == "one":
            settle(kit, claim, 204)
    assert kit.receivers.remove(two.id)
    assert failing_receivers(client) == failing_receivers(client, "one") == failing_receivers(client, "two") == []


def test_a_shut_host_says_when_its_next_attempt_is(kit: LaneKit, client: Any) -> None:
    """
    While the breaker of a target is open, its entry has the number of waiting deliveries and the instant of the probe.
    """
    ended(kit, "acme", "https://dead.example/hook", 40)
    while count_shut(client) == 0:
        for claim in under_way(kit):
            settle(kit, claim, 500)
    (dead,) = failing_receivers(client)
    assert dead.shut_until is not None
    assert dead.next_at is not None
    assert dead.next_at >= dead.shut_until
    assert 0 < dead.waiting < 40


def test_a_failure_that_is_forgotten_leaves_the_list(kit: LaneKit, client: Any) -> None:
    """When the health record of a failing receiver has expired, the receiver is no longer listed or counted."""
    ended(kit, "acme", "https://dead.example/hook")
    for claim in under_way(kit):
        settle(kit, claim, 500)
    (dead,) = failing_receivers(client)
    client.delete(f"rt:deliveries:health:{dead.id}")
    assert failing_receivers(client) == failing_receivers(client, "acme") == []
    assert count_failing(client) == count_failing(client, "acme") == 0
