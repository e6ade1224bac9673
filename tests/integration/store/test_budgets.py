"""Tests of budgets and of backlog limits with real scripts: concurrent calls, crashes and midnight."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retouch import Edit, EditQueue, QueueFull
from retouch.outcomes import GateClosed, ImageUnavailable, Retry, Succeed
from retouch.policy import RetryPolicy, decide
from retouch.store.ledger import DAY_S, Ledger
from retouch.store.records import Claim
from tests.charge_kit import AGAIN, GIVE_UP, READY, called_again, one_job, posted, split, tried
from tests.lane_kit import IMAGE, LaneKit

EDIT = Edit(prompt="make it winter", init_image="https://a.example/in.png")


def today() -> int:
    return int(time.time() // DAY_S)


def test_a_hundred_producers_against_a_budget(client: Any, kit: LaneKit, ledger: Ledger) -> None:
    """100 threads enqueue 3 jobs each while workers work: exactly the budget is accepted and spent."""
    ledger.set_limits("acme", budget=37)
    kit.open(8, 0.0)
    jobs = [[kit.new() for _ in range(3)] for _ in range(100)]
    together, over = threading.Barrier(100), threading.Event()
    accepted: Counter[str] = Counter()

    def produce(mine: list[Any]) -> Counter[str]:
        together.wait()
        return Counter(result.kind for new in mine for result in kit.jobs.enqueue([new])[0])

    def work() -> None:
        while not over.is_set():
            for job in client.zrange("rt:edits:slots", 0, -1):
                claim = kit.jobs.claim(job, 15.0)
                if claim and kit.jobs.intend(claim) == "ok":
                    kit.jobs.answer(claim, "succeeded", READY)
                    kit.jobs.settle(claim, Succeed(IMAGE))

    with ThreadPoolExecutor(104) as pool:
        workers = [pool.submit(work) for _ in range(4)]
        for counts in list(pool.map(produce, jobs)):
            accepted += counts
        while client.hget("rt:edits:counts", "succeeded") != "37" and not any(worker.done() for worker in workers):
            time.sleep(0.01)
        over.set()
        assert [worker.result() for worker in workers] == [None] * 4
    assert accepted == {"new": 37, "refused": 263}
    assert ledger.budget("acme") == (37, 37, 0)
    assert split(ledger) == {"useful": 37}


def test_a_lost_reply_takes_no_second_place(kit: LaneKit, ledger: Ledger) -> None:
    """
    When a script runs again after a lost reply, the same jobs are accepted again, even if the budget has no call left.
    """
    ledger.set_limits("acme", budget=1)
    new, late = kit.new(), kit.new()
    assert [kit.jobs.enqueue([new, late])[0][0].kind for _ in range(2)] == ["new", "new"]
    assert isinstance(kit.jobs.enqueue([late])[0][0].error, QueueFull)
    assert ledger.budget("acme") == (1, 0, 1)


def test_a_refused_call_is_given_back(kit: LaneKit, ledger: Ledger) -> None:
    """A POST that cost nothing returns its call to the budget, even if the answer is late."""
    ledger.set_limits("acme", budget=2)
    first, second = one_job(kit), one_job(kit)
    tried(kit, first, "refused", AGAIN)
    frozen = posted(kit, second)
    ledger.set_limits("acme", budget=1)
    assert called_again(kit) == [second]
    kit.finish(second, GIVE_UP)
    assert called_again(kit) == []
    assert ledger.budget("acme") == (1, 1, 0)
    kit.jobs.answer(frozen, "refused", None)
    assert ledger.budget("acme") == (1, 0, 0)
    assert called_again(kit) == [first]
    tried(kit, first, "succeeded", Succeed(IMAGE))
    assert ledger.budget("acme") == (1, 1, 0)


def test_an_answer_that_was_free_and_turns_out_paid_is_spent_after_all(kit: LaneKit, ledger: Ledger) -> None:
    """A POST that was first recorded as failed and later as succeeded counts against the budget."""
    ledger.set_limits("acme", budget=3)
    claim = posted(kit, one_job(kit))
    spent = []
    for kind in ("processing", "failed", "failed", "succeeded"):
        kit.jobs.answer(claim, kind, READY if kind == "succeeded" else None)
        spent.append((ledger.budget("acme") or (0, 0, 0))[1])
    assert spent == [1, 0, 0, 1]


def test_a_raised_budget_lets_waiting_jobs_go_on(kit: LaneKit, ledger: Ledger) -> None:
    """Jobs above a lowered budget wait. After the budget is raised or removed, they run from the next sweep on."""
    ledger.set_limits("acme", budget=3)
    kit.open(1, 0.0)
    jobs = [one_job(kit) for _ in range(3)]
    ledger.set_limits("acme", budget=1)
    tried(kit, jobs[0], "succeeded", Succeed(IMAGE))
    assert called_again(kit) == []
    ledger.set_limits("acme", budget=2)
    assert called_again(kit) == [jobs[1]]
    tried(kit, jobs[1], "succeeded", Succeed(IMAGE))
    assert called_again(kit) == []
    ledger.set_limits("acme", budget=0)
    assert called_again(kit) == [jobs[2]]


def test_a_new_day_has_a_new_budget(client: Any, kit: LaneKit, ledger: Ledger) -> None:
    """
    Jobs that wait for a budget can run after midnight. If a job is dispatched before midnight and POSTs after it, the
    call counts for the new day. If the new budget is spent, the job waits.
    """
    ledger.set_limits("acme", budget=2)
    jobs = [one_job(kit) for _ in range(2)]
    ledger.set_limits("acme", budget=1)
    client.rename(f"rt:budget:acme:{today()}", f"rt:budget:acme:{today() - 1}")
    for job in jobs:
        client.hset(f"rt:edits:state:{job}", "reserved", today() - 1)
    client.hset("rt:edits:gate", "budget_day", today() - 1)
    posted(kit, jobs[0])
    late = kit.claim(jobs[1])
    assert kit.jobs.intend(late) == "budget_spent"
    assert ledger.budget("acme") == (1, 1, 0)
    assert client.hget(f"rt:budget:acme:{today() - 1}", "reserved") == "0"
    kit.jobs.settle(late, decide(GateClosed("budget_spent"), late.attempt(), RetryPolicy(), late.now_at, 0.5))
    kit.make_due("edits", "timetable")
    assert kit.rescue() == []
    client.rename(f"rt:budget:acme:{today()}", f"rt:budget:acme:{today() - 1}")
    client.hset("rt:edits:gate", "budget_day", today() - 1)
    assert kit.rescue() == [("edits", jobs[1])]
    assert kit.jobs.intend(kit.claim(jobs[1])) == "ok"


def test_a_second_call_after_a_crash_needs_a_call_of_its_own(kit: LaneKit, ledger: Ledger) -> None:
    """
    If a worker dies after a POST, the job needs a second call. While the budget is spent, the job waits, and the wait
    uses no attempt.
    """
    ledger.set_limits("acme", budget=1)
    job = one_job(kit)
    posted(kit, job)
    assert called_again(kit) == [job]
    claim = kit.claim(job)
    assert [kit.jobs.intend(claim) for _ in range(2)] == ["budget_spent", "budget_spent"]
    kit.jobs.settle(claim, decide(GateClosed("budget_spent"), claim.attempt(), RetryPolicy(), claim.now_at, 0.5))
    record = kit.jobs.record(job)
    assert record is not None
    assert (record.state, record.attempt) == ("retrying", 1)
    assert called_again(kit) == []
    ledger.set_limits("acme", budget=2)
    assert called_again(kit) == [job]
    tried(kit, job, "succeeded", Succeed(IMAGE))
    assert ledger.budget("acme") == (2, 2, 0)


def test_no_budget_holds_up_an_image_that_is_paid_for(kit: LaneKit, ledger: Ledger) -> None:
    """The repeated download of a paid image runs before all other jobs of its tenant, even if the budget is spent."""
    ledger.set_limits("acme", budget=2)
    kit.open(1, 0.0)
    paid = one_job(kit)
    claim = posted(kit, paid)
    kit.jobs.answer(claim, "succeeded", READY)
    one_job(kit, priority="high")
    ledger.set_limits("acme", budget=1)
    kit.jobs.settle(claim, decide(ImageUnavailable("404"), claim.attempt(), RetryPolicy(), claim.now_at, 0.5))
    assert called_again(kit) == [paid]
    assert ledger.budget("acme") == (1, 1, 0)
    kit.finish(paid, Succeed(IMAGE))
    assert split(ledger) == {"useful": 1}


def test_limits_refuse_before_enqueueing(client: Any, redis_url: str, ledger: Ledger) -> None:
    """
    A call enqueues as many jobs as the backlog and the budget allow. For the other jobs, the call raises QueueFull with
    the reason and a time to retry.
    """
    with EditQueue(redis_url=redis_url) as queue:
        client.hset("rt:edits:gate", "limit", 1)
        ledger.set_limits("small", backlog_limit=2)
        ledger.set_limits("poor", budget=2)
        with pytest.raises(QueueFull) as backlog:
            queue.enqueue_many([EDIT] * 5, tenant="small")
        with pytest.raises(QueueFull) as budget:
            queue.enqueue_many([EDIT] * 5, tenant="poor")
        first = queue.enqueue(EDIT, tenant="usual", idempotency_key="k")
        ledger.set_limits("usual", backlog_limit=1)
        assert queue.enqueue(EDIT, tenant="usual", idempotency_key="k").id == first.id
        assert len(list(queue.jobs(tenant="small"))) == 2
        assert len(list(queue.jobs(tenant="poor"))) == 2
    assert (backlog.value.reason, backlog.value.refused, backlog.value.tenant) == ("backlog", 3, "small")
    assert (budget.value.reason, budget.value.refused, budget.value.tenant) == ("budget", 3, "poor")
    assert 0 < backlog.value.retry_after_s <= 60
    assert 0 < budget.value.retry_after_s <= DAY_S


def test_a_job_refused_for_hours_stays_small(kit: LaneKit) -> None:
    """The record of a job has its first twenty refusals, and no more."""
    job = one_job(kit)
    for _ in range(40):
        tried(kit, job, "refused", Retry(0.0, "queue_full", "full", refund=True))
        assert called_again(kit) == [job]
    record = kit.jobs.record(job)
    assert record is not None
    assert (len(record.charges), record.attempt) == (20, 0)


moves = st.lists(
    st.tuples(
        st.sampled_from(["enqueue", "post", "post", "answer", "answer", "settle", "die", "sweep", "cancel", "replay"]),
        st.integers(0, 1_000),
    ),
    min_size=20,
    max_size=60,
)


class Purse:
    """
    A tenant with a budget, and workers for its jobs. `move` takes one random step, and `check` compares the budget with
    the jobs.
    """

    KINDS = ("succeeded", "refused", "failed", "unknown")

    def __init__(self, client: Any, budget: int) -> None:
        client.flushdb()
        self.client, self.kit, self.ledger, self.most = client, LaneKit(client), Ledger(client), budget
        self.ledger.set_limits("acme", budget=budget)
        self.kit.open(3, 0.0)
        self.jobs: list[str] = []
        self.claims: list[Claim] = []

    def move(self, name: str, pick: int) -> None:
        if name == "enqueue":
            new = self.kit.new()
            self.jobs += [new.id] * (self.kit.jobs.enqueue([new])[0][0].kind == "new")
        elif name == "sweep":
            called_again(self.kit)
        elif name == "post":
            for job in self.client.zrange("rt:edits:slots", 0, -1):
                if claim := self.kit.jobs.claim(job, 15.0):
                    self.claims.append(claim)
                    if not claim.checkpoint:
                        self.kit.jobs.intend(claim)
        elif name in ("cancel", "replay") and self.jobs:
            getattr(self.kit.jobs, name)(self.jobs[pick % len(self.jobs)])
        elif name in ("answer", "settle", "die") and self.claims:
            self.step(name, self.claims[pick % len(self.claims)], pick)

    def step(self, name: str, claim: Claim, pick: int) -> None:
        if name != "answer":
            self.claims.remove(claim)
        if name == "settle":
            self.kit.jobs.settle(claim, (Succeed(IMAGE), GIVE_UP, AGAIN, AGAIN)[pick % 4])
        elif name == "answer" and claim.charges and claim.charges[-1].fence == claim.fence:
            was_free = not claim.charges[-1].possible
            kind = "refused" if was_free else self.KINDS[pick % 4]
            self.kit.jobs.answer(claim, kind, READY if kind == "succeeded" else None)

    def check(self) -> None:
        allowed, spent, reserved = self.ledger.budget("acme") or (0, 0, 0)
        records = self.kit.jobs.records(self.jobs)
        slots = self.client.zrange("rt:edits:slots", 0, -1)
        promised = [job for job in self.jobs if self.client.hexists(f"rt:edits:state:{job}", "reserved")]
        assert reserved == len(promised) >= 0
        assert set(promised) <= set(slots)
        assert spent == sum(charge.possible for record in records for charge in record.charges)
        assert spent + reserved <= allowed

    def end(self) -> None:
        for job in self.jobs:
            self.kit.jobs.cancel(job)
        for claim in self.claims:
            self.kit.jobs.settle(claim, GIVE_UP)
        called_again(self.kit)
        for job in self.client.zrange("rt:edits:slots", 0, -1):
            self.kit.finish(job, GIVE_UP)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(moves=moves, budget=st.integers(1, 6))
def test_reserved_and_spent_add_up_in_every_sequence(client: Any, moves: list[tuple[str, int]], budget: int) -> None:
    """
    After each random step, the budget covers the spent and the reserved calls. Spent calls are POSTs that may have been
    charged. Reserved calls belong to jobs with a slot.
    """
    purse = Purse(client, budget)
    for name, pick in moves:
        purse.move(name, pick)
        purse.check()
    purse.end()
    purse.check()
    assert split(purse.ledger).get("reserved", 0) == 0
