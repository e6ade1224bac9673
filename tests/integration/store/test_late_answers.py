"""A job is POSTed twice, and one answer comes late: a paid image is used, and every job ends."""

from __future__ import annotations

from typing import Any

import pytest

from retouch.outcomes import Fail, Failed, Poll, Processing, Ready, Retry, Stored, Succeed
from retouch.policy import RetryPolicy, decide
from retouch.store.records import Claim
from retouch_worker.edits.resume import CRASHES_MOST, resume
from tests.lane_kit import IMAGE, LaneKit
from tests.process_watch import eventually

READY = Ready(("https://out.example/a.png",), "7")
OTHER = Processing("8", "https://endpoint.example/fetch/8", 1.0)
POLICY = RetryPolicy(max_charges=2)
ONE_CHARGE = RetryPolicy(max_charges=1)


@pytest.fixture
def kit(client: Any) -> LaneKit:
    kit = LaneKit(client)
    kit.open(2, 0.0)
    return kit


def lost(kit: LaneKit, job: str) -> Claim:
    """Claim and POST a job, let the lease expire, and sweep. Return the claim of the worker that lost the lease."""
    frozen = kit.claim(job)
    assert kit.jobs.intend(frozen) == "ok"
    kit.make_due("edits", "slots")
    kit.rescue()
    return frozen


def both_asked(kit: LaneKit) -> tuple[Claim, Claim]:
    """POST a job twice. Return the claim of the worker that lost its lease, and the claim of the present worker."""
    kit.enqueue(kit.new())
    frozen = lost(kit, kit.dispatched()[0])
    current = kit.claim(frozen.job)
    assert kit.jobs.intend(current) == "ok"
    return frozen, current


def is_processing(kit: LaneKit, claim: Claim) -> None:
    """Record the answer `processing` to the POST of this claim, so that the job is polled."""
    kit.jobs.answer(claim, "processing", OTHER, "ok")
    kit.jobs.settle(claim, Poll(1.0, OTHER))


def next_claim(kit: LaneKit, job: str, part: str) -> Claim:
    """Make the job due in `part`, which is `slots` or `timetable`, and sweep. Return the next claim."""
    kit.make_due("edits", part)
    kit.rescue()
    return kit.claim(job)


def fails(kit: LaneKit, claim: Claim, policy: RetryPolicy) -> Retry | Fail:
    """Record that the polled generation failed, settle the claim, and return the decision."""
    outcome = Failed("failed", seen_by_poll=True)
    kit.jobs.answer(claim, "failed", None)
    decision = decide(outcome, claim.attempt(), policy, claim.now_at, 0.5)
    kit.jobs.settle(claim, decision)
    assert isinstance(decision, Retry | Fail)
    return decision


def test_a_late_image_is_used_when_the_polled_one_fails(kit: LaneKit) -> None:
    """
    A paid answer that arrives while another POST is processing becomes a spare. The spare is used when the other POST
    fails.
    """
    frozen, current = both_asked(kit)
    is_processing(kit, current)
    kit.jobs.answer(frozen, "succeeded", READY, "ok")
    looking = next_claim(kit, frozen.job, "slots")
    assert looking.checkpoint == OTHER
    assert isinstance(fails(kit, looking, POLICY), Retry)
    assert resume(next_claim(kit, frozen.job, "timetable"), POLICY, 30.0) == READY


def test_a_late_image_that_was_adopted_outlives_the_next_answer(kit: LaneKit) -> None:
    """
    An adopted late answer is kept when a second POST is answered, and is used when the second POST fails for good.
    """
    frozen, current = both_asked(kit)
    kit.jobs.answer(frozen, "succeeded", READY, "ok")
    is_processing(kit, current)
    assert isinstance(fails(kit, next_claim(kit, frozen.job, "slots"), ONE_CHARGE), Fail)
    assert kit.state(frozen.job) == "queued"
    assert resume(kit.claim(frozen.job), ONE_CHARGE, 30.0) == READY


def test_a_late_image_is_kept_past_the_deadline(kit: LaneKit) -> None:
    """
    When the polled POST is still processing at the deadline, the job succeeds with the late image of the other POST.
    """
    frozen, current = both_asked(kit)
    is_processing(kit, current)
    kit.jobs.answer(frozen, "succeeded", READY, "ok")
    looking = next_claim(kit, frozen.job, "slots")
    decision = decide(OTHER, looking.attempt(), POLICY, looking.deadline_at + 1.0, 0.5)
    assert isinstance(decision, Fail)
    kit.jobs.settle(looking, decision)
    claim = kit.claim(frozen.job)
    assert resume(claim, POLICY, 30.0) == READY
    kit.jobs.settle(claim, decide(Stored(IMAGE), claim.attempt(), POLICY, claim.now_at, 0.5))
    assert kit.state(frozen.job) == "succeeded"


def test_an_answer_recorded_twice_sets_nothing_aside(kit: LaneKit, client: Any) -> None:
    """An answer that is recorded again after a lost reply does not become a spare."""
    frozen, current = both_asked(kit)
    for _ in range(2):
        kit.jobs.answer(current, "succeeded", READY, "ok")
    kit.make_due("edits", "slots")
    kit.rescue()
    kit.jobs.answer(current, "succeeded", READY, "ok")
    assert client.hget(f"rt:edits:state:{frozen.job}", "spare") is None


def test_a_paid_answer_resets_the_count_of_crashes(kit: LaneKit) -> None:
    """A late paid answer resets the count of crashes, so that a job that failed after too many crashes continues."""
    kit.enqueue(kit.new())
    frozen = lost(kit, kit.dispatched()[0])
    for _ in range(CRASHES_MOST - 1):
        next_claim(kit, frozen.job, "slots")
    worn = next_claim(kit, frozen.job, "slots")
    kit.jobs.settle(worn, decide(resume(worn, POLICY, 30.0), worn.attempt(), POLICY, worn.now_at, 0.5))
    assert kit.state(frozen.job) == "failed"
    kit.jobs.answer(frozen, "succeeded", READY, "ok")
    assert resume(kit.claim(frozen.job), POLICY, 30.0) == READY


def test_crashes_count_in_a_row(kit: LaneKit) -> None:
    """Only crashes in a row count: after each retry the next claim has `crashes` 0."""
    kit.enqueue(kit.new())
    claim = kit.claim(kit.dispatched()[0])
    for _ in range(CRASHES_MOST + 2):
        claim = next_claim(kit, claim.job, "slots")
        assert claim.crashes == 1
        kit.jobs.settle(claim, Retry(1.0, "endpoint_failed", "failed"))
        claim = next_claim(kit, claim.job, "timetable")
        assert claim.crashes == 0


def test_what_is_forgiven_stays_what_it_was(kit: LaneKit) -> None:
    """
    A replay forgives the earlier charges of its job. If a late answer then shows that one of these charges was free,
    this allows no further POST.
    """
    kit.enqueue(kit.new())
    (job,) = kit.dispatched()
    for _ in range(20):
        claim = kit.claim(job)
        assert kit.jobs.intend(claim) == "ok"
        kit.jobs.answer(claim, "refused", None)
        kit.jobs.settle(claim, Retry(1.0, "queue_full", "full", refund=True))
        kit.make_due("edits", "timetable")
        kit.rescue()
    frozen = lost(kit, job)
    claim = kit.claim(job)
    kit.jobs.settle(claim, decide(resume(claim, ONE_CHARGE, 30.0), claim.attempt(), ONE_CHARGE, claim.now_at, 0.5))
    kit.jobs.replay(job)
    lost(kit, job)
    kit.jobs.answer(frozen, "refused", None)
    claim = kit.claim(job)
    assert claim.possible_charges == 1
    assert isinstance(decide(resume(claim, ONE_CHARGE, 0.0), claim.attempt(), ONE_CHARGE, claim.now_at, 0.5), Fail)


def test_a_fence_is_not_given_twice(kit: LaneKit, client: Any) -> None:
    """When Redis loses its last writes, and a claim with them, the next claim gets a new fence."""
    kit.enqueue(kit.new())
    (job,) = kit.dispatched()
    names = (f"rt:edits:state:{job}", "rt:edits:slots")
    before = {name: client.dump(name) for name in names}
    forgotten = kit.claim(job)
    for name in names:
        client.restore(name, 0, before[name], replace=True)
    began_at = client.time()
    # A restart of Redis takes longer than the millisecond by which numbers differ.
    assert eventually(lambda: client.time() > (began_at[0], began_at[1] + 1_000))
    current = next_claim(kit, job, "slots")
    assert kit.jobs.intend(current) == "ok"
    assert kit.jobs.intend(forgotten) == "stale"


def test_waits_that_cost_nothing_have_one_event(kit: LaneKit) -> None:
    """
    When the endpoint's queue is full several times in a row, these refusals have one event. Each error that counts as a
    wait has its own event.
    """
    kit.enqueue(kit.new())
    (job,) = kit.dispatched()
    free = {"refund": False, "counts_as_wait": False}
    for decision in (
        *(Retry(1.0, "queue_full", "full", **free) for _ in range(5)),
        *(Retry(1.0, "endpoint_failed", "failed") for _ in range(2)),
        Retry(1.0, "queue_full", "full", **free),
    ):
        kit.jobs.settle(kit.claim(job), decision)
        kit.make_due("edits", "timetable")
        kit.rescue()
    claim = kit.claim(job)
    assert claim.waits == 2
    kit.jobs.settle(claim, Succeed(IMAGE))
    entries: list[Any] = kit.jobs.timeline(job)
    listed = [entry["error"]["code"] if entry["type"] == "edit.retrying" else entry["type"] for entry in entries]
    waits = ("queue_full", "endpoint_failed", "endpoint_failed", "queue_full")
    assert listed == [*(kind for wait in waits for kind in ("edit.running", wait)), "edit.running", "edit.succeeded"]
