"""Tests of a lane on a real server: which job runs next, how many jobs run at once, and when jobs wait."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from retouch.outcomes import Fail, Retry, Succeed
from retouch.store import keys
from retouch.store.accounts import AccountStore
from retouch.store.scripts import Message
from tests.charge_kit import tried
from tests.lane_kit import IMAGE, LEASE_S, RETENTION_S, LaneKit, assert_consistent

SUCCEED = Succeed(IMAGE)


def run_in_order(kit: LaneKit, messages: list[Message], count: int) -> list[str]:
    """Let a worker run `count` jobs in the order of their messages. Return the tenants of these jobs."""
    order = []
    for _ in range(count):
        _, job = messages.pop(0)
        claim = kit.claim(job)
        order.append(claim.spec.tenant)
        messages += kit.jobs.settle(claim, SUCCEED)
    return order


def test_one_job_does_not_wait_behind_anothers_backlog(kit: LaneKit) -> None:
    """A tenant with one job gets a slot within seven dispatches, although another tenant has 150 waiting jobs."""
    kit.open(5, 0.0)
    messages = kit.enqueue(*(kit.new("large") for _ in range(150)))
    messages += kit.enqueue(kit.new("small"))
    assert "small" in run_in_order(kit, messages, 7)


def test_a_tenant_that_comes_back_does_not_jump_the_line(kit: LaneKit) -> None:
    """When an idle tenant enqueues again, this tenant and a busy tenant get slots in turn."""
    kit.open(1, 0.0)
    messages = kit.enqueue(*(kit.new("large") for _ in range(60)))
    run_in_order(kit, messages, 30)
    messages += kit.enqueue(*(kit.new("late") for _ in range(20)))
    assert 9 <= Counter(run_in_order(kit, messages, 20))["late"] <= 11


def test_weights_are_shares_of_the_slots(kit: LaneKit) -> None:
    """Tenants with the weights 1, 2 and 3 get slots in the ratio 1 : 2 : 3, within a tenth."""
    kit.open(4, 0.0)
    kit.lanes.pause()
    for tenant, weight in (("one", 1.0), ("two", 2.0), ("three", 3.0)):
        kit.lanes.set_group("edits", tenant, weight=weight)
        kit.enqueue(*(kit.new(tenant) for _ in range(120)))
    kit.lanes.resume()
    given = Counter(run_in_order(kit, kit.rescue(), 180))
    for tenant, share in (("one", 30), ("two", 60), ("three", 90)):
        assert abs(given[tenant] - share) <= share / 10 + 1


def test_a_tenants_own_limit_holds(kit: LaneKit, client: Any) -> None:
    """A tenant with a limit of two never holds more than two slots. Other tenants get the other slots."""
    kit.open(5, 0.0)
    kit.lanes.set_group("edits", "small", limit=2)
    jobs = [kit.new("small") for _ in range(9)]
    kit.enqueue(*jobs)
    assert client.hgetall("rt:edits:held") == {"small": "2"}
    kit.enqueue(*(kit.new("large") for _ in range(9)))
    for _ in range(10):
        kit.finish(kit.dispatched()[0], SUCCEED)
        assert int(client.hget("rt:edits:held", "small") or 0) <= 2
        assert_consistent(client, [job.id for job in jobs])


def test_a_limit_that_is_raised_lets_waiting_work_go(kit: LaneKit) -> None:
    """After the limit of a tenant is raised from 0 to 2, two of its waiting jobs run from the next sweep on."""
    kit.open(5, 0.0)
    kit.lanes.set_group("edits", "held", limit=0)
    kit.enqueue(*(kit.new("held") for _ in range(3)))
    assert kit.rescue() == []
    kit.lanes.set_group("edits", "held", limit=2)
    assert len(kit.rescue()) == 2


def test_a_limit_that_is_lowered_holds_from_the_next_dispatch_on(kit: LaneKit, client: Any) -> None:
    """After the limit of a tenant is lowered, its jobs in flight end, and no job is dispatched above the new limit."""
    kit.open(5, 0.0)
    kit.enqueue(*(kit.new("acme") for _ in range(9)))
    kit.lanes.set_group("edits", "acme", limit=1)
    for held in (4, 3, 2, 1, 1, 1):
        kit.finish(kit.dispatched()[0], SUCCEED)
        assert int(client.hget("rt:edits:held", "acme")) == held


def test_priority_is_age(kit: LaneKit, client: Any) -> None:
    """
    Jobs run in the order of their priority, and then of their age. Ten minutes of age count as one level of priority.
    """
    kit.open(1, 0.0)
    kit.lanes.pause()
    names = ["low", "normal", "normal", "high", "low", "high"]
    jobs = [kit.new(priority=name) for name in names]
    for job in jobs:
        kit.enqueue(job)
    old = kit.new(priority="low")
    kit.enqueue(old)
    client.zincrby("rt:edits:backlog:acme", -1_300, old.id)
    kit.lanes.resume()
    kit.rescue()
    order = []
    while held := kit.dispatched():
        order.append(held[0])
        kit.finish(held[0], SUCCEED)
    wanted = [old, jobs[3], jobs[5], jobs[1], jobs[2], jobs[0], jobs[4]]
    assert order == [job.id for job in wanted]


def test_a_replayed_job_keeps_its_priority(kit: LaneKit) -> None:
    """
    A replayed job waits in front of newer jobs of the same priority. A job with a paid answer goes first at any
    priority.
    """
    kit.open(1, 0.0)
    low, high, raised, paid = kit.new(priority="low"), kit.new(priority="high"), kit.new(), kit.new(priority="low")
    for job in (low, high, raised):
        kit.enqueue(job)
        kit.finish(job.id, Fail("spam_filter", "no", retryable=True))
    kit.enqueue(paid)
    tried(kit, paid.id, "succeeded", Fail("result_not_stored", "the store is full", retryable=True))
    kit.client.hset(f"rt:edits:state:{raised.id}", "priority", "high")  # as a bulk run does while the job waits
    kit.lanes.pause()
    new = kit.new()
    kit.enqueue(new)
    for job in (low, high, raised, paid):
        assert kit.jobs.replay(job.id)[0] == "replayed"
    order = kit.client.zrange("rt:edits:backlog:acme", 0, -1)
    assert order == [paid.id, high.id, raised.id, new.id, low.id]


def test_a_paused_lane_gives_nothing_and_loses_nothing(kit: LaneKit) -> None:
    """In a paused lane, jobs in flight end and no job starts. After the lane is resumed, the next sweep starts jobs."""
    kit.open(2, 0.0)
    kit.enqueue(*(kit.new() for _ in range(4)))
    kit.lanes.pause()
    for job in kit.dispatched():
        assert kit.finish(job, SUCCEED) == []
    assert kit.lanes.numbers("edits").paused
    assert kit.dispatched() == []
    kit.lanes.resume()
    assert len(kit.rescue()) == 2


def test_the_rate_gate_gives_tokens_by_time(kit: LaneKit, client: Any) -> None:
    """
    With a rate of three a second, three jobs are dispatched at once, and after that one job each third of a second.
    """
    kit.open(50, 3.0)
    kit.enqueue(*(kit.new() for _ in range(30)))
    assert len(kit.dispatched()) == 3
    kit.rescue()
    assert len(kit.dispatched()) in (3, 4)
    given = len(kit.dispatched())
    refilled_at = float(client.hget("rt:edits:gate", "refilled_at"))
    client.hset("rt:edits:gate", mapping={"refilled_at": refilled_at - 0.7, "tokens": 0})
    kit.rescue()
    assert len(kit.dispatched()) in (given + 2, given + 3)
    client.hset("rt:edits:gate", "refilled_at", refilled_at - 1_000)
    given = len(kit.dispatched())
    kit.rescue()
    assert len(kit.dispatched()) == given + 3


def learnt(client: Any) -> tuple[int, float]:
    limit, exact = client.hmget("rt:edits:gate", "limit", "learnt")
    return int(limit), float(exact or limit)


def answer(kit: LaneKit, health: str) -> None:
    """Claim and POST a job, record an answer with the endpoint's state `health`, settle the job, and sweep."""
    claim = kit.claim(kit.dispatched()[0])
    assert kit.jobs.intend(claim) == "ok"
    kit.jobs.answer(claim, "refused" if health == "full" else "succeeded", None, health)
    kit.jobs.settle(claim, SUCCEED)
    kit.rescue()


def test_newcomers_do_not_starve_who_was_served(kit: LaneKit, client: Any) -> None:
    """A tenant with steady work still gets slots, even if two new tenants arrive each time a slot becomes free."""
    kit.open(1, 0.0)
    kit.enqueue(*(kit.new("steady") for _ in range(40)))
    served = []
    for turn in range(60):
        kit.enqueue(kit.new(f"new{turn}a"), kit.new(f"new{turn}b"))
        (job,) = kit.dispatched()
        served.append(client.hget(f"rt:edits:state:{job}", "group"))
        kit.finish(job, SUCCEED)
    turns = [turn for turn, tenant in enumerate(served) if tenant == "steady"]
    assert len(turns) >= 5, served
    assert served.count("new0a") == 1


def test_a_full_queue_gives_the_lane_a_rest(kit: LaneKit, client: Any) -> None:
    """After the endpoint refused a POST because its queue is full, nothing is dispatched for about a second."""
    kit.open(1, 0.0)
    kit.enqueue(kit.new(), kit.new())
    claim = kit.claim(kit.dispatched()[0])
    assert kit.jobs.intend(claim) == "ok"
    kit.jobs.answer(claim, "refused", None, "full")
    kit.jobs.settle(claim, Retry(30.0, "queue_full", "full", refund=True, counts_as_wait=False))
    assert kit.dispatched() == []
    assert float(client.hget("rt:edits:gate", "full_until")) - time.time() < 2
    client.hset("rt:edits:gate", "full_until", 1)
    client.hdel("rt:rescue", "next_at")
    kit.lanes.rescue(1.0, LEASE_S, RETENTION_S)
    assert len(kit.dispatched()) == 1


def test_a_clock_that_is_set_back_stops_no_lane(kit: LaneKit, client: Any) -> None:
    """A lane with a rate dispatches even if its last refill is in the future, as after the clock was set back."""
    kit.open(10, 2.0)
    kit.enqueue(kit.new())
    client.hset("rt:edits:gate", mapping={"tokens": 0, "refilled_at": time.time() + 3_600})
    kit.enqueue(kit.new())
    assert len(kit.dispatched()) == 2


def test_who_waits_for_a_budget_is_counted(kit: LaneKit, client: Any) -> None:
    """When a tenant's budget is spent, its waiting jobs still count as waiting in the lane."""
    kit.open(1, 0.0)
    kit.enqueue(*(kit.new("broke") for _ in range(4)))
    client.hset("rt:edits:budgets", "broke", 0)
    kit.finish(kit.dispatched()[0], SUCCEED)
    numbers = kit.lanes.numbers("edits")
    assert (numbers.waiting, numbers.held, numbers.waiting_by_group) == (3, 0, {"broke": 3})


def test_a_limit_that_is_to_be_learnt_begins_low(kit: LaneKit, client: Any) -> None:
    """
    A lane that changes from a limit of 100 to `auto` begins with five. Workers that start later keep the learnt limit.
    """
    kit.open(100, 0.0)
    kit.open("auto", 0.0)
    assert learnt(client) == (5, 5.0)
    client.hset("rt:edits:gate", mapping={"limit": 9, "learnt": 9.5})
    kit.open("auto", 0.0)
    assert learnt(client) == (9, 9.5)


def test_the_limit_is_learnt(kit: LaneKit, client: Any) -> None:
    """
    A learnt limit begins at five and grows with successes. When the endpoint's queue is full, the limit is halved once
    for each burst, but not below one. A fixed limit does not change.
    """
    kit.open("auto", 0.0)
    kit.enqueue(*(kit.new() for _ in range(400)))
    assert learnt(client) == (5, 5.0)
    for _ in range(150):
        answer(kit, "ok")
    assert learnt(client)[0] == 15
    answer(kit, "full")
    assert learnt(client)[0] == 7
    answer(kit, "full")  # the same burst: one halving answers for it
    assert learnt(client)[0] == 7
    for _ in range(120):
        answer(kit, "ok")
    assert learnt(client)[0] == 14
    client.hset("rt:edits:gate", "refused_at", 1)
    for _ in range(40):
        answer(kit, "ok")
    assert learnt(client)[0] == 15
    for _ in range(8):
        client.hset("rt:edits:gate", "refused_at", 1)
        answer(kit, "full")
    assert learnt(client)[0] == 1
    kit.open(3, 0.0)
    answer(kit, "full")
    assert learnt(client)[0] == 3


def test_the_steps_of_a_learnt_limit_are_kept(kit: LaneKit, client: Any) -> None:
    """Each change of the learnt limit is recorded as one step, oldest first, and kept for three days."""
    kit.open("auto", 0.0)
    kit.enqueue(*(kit.new() for _ in range(60)))
    for _ in range(18):
        answer(kit, "ok")
    answer(kit, "full")
    steps = AccountStore(client).limit_steps("default")
    assert [step.limit for step in steps] == [6, 7, 3]
    assert [step.at for step in steps] == sorted(step.at for step in steps)
    assert 0 < client.ttl(keys.limit_steps("default")) <= 3 * 86_400


def test_a_second_worker_keeps_what_was_learnt(kit: LaneKit, client: Any) -> None:
    """A worker that starts with `auto` does not reset the learnt limit."""
    kit.open("auto", 0.0)
    client.hset("rt:edits:gate", mapping={"limit": 9, "learnt": 9.5})
    kit.open("auto", 0.0)
    assert learnt(client) == (9, 9.5)
