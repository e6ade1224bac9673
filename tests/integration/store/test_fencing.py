"""Tests of fencing: a worker that lost its lease changes nothing, but a late paid answer from this worker is kept."""

from __future__ import annotations

from typing import Any

import pytest

from retouch.outcomes import Fail, Image, Processing, Ready, Retry, Succeed
from retouch.policy import RetryPolicy
from retouch.store.records import Claim
from retouch_worker.edits.resume import resume
from tests.lane_kit import IMAGE, LEASE_S, LaneKit, assert_consistent

READY = Ready(("https://out.example/a.png",), "7")
OTHER = Ready(("https://out.example/b.png",), "8")
ASKED = Processing("7", "https://endpoint.example/fetch/7", 1.0)
SUCCEED = Succeed(IMAGE)
UNKNOWN = Fail("outcome_unknown", "lost", retryable=True)


@pytest.fixture
def kit(client: Any) -> LaneKit:
    kit = LaneKit(client)
    kit.open(2, 0.0)
    return kit


def taken_over(kit: LaneKit) -> tuple[Claim, Claim]:
    """Return the claim of a worker that POSTed and lost its lease, and the next worker's claim of the same job."""
    kit.enqueue(kit.new())
    (job,) = kit.dispatched()
    frozen = kit.claim(job)
    assert kit.jobs.intend(frozen) == "ok"
    kit.make_due("edits", "slots")
    kit.rescue()
    return frozen, kit.claim(job)


def test_a_stale_worker_changes_nothing(kit: LaneKit, client: Any) -> None:
    """For a stale worker, the heartbeat returns the job as lost, and an intent or a settlement changes nothing."""
    frozen, current = taken_over(kit)
    before = client.hgetall(f"rt:edits:state:{frozen.job}")
    assert kit.lanes.heartbeat(LEASE_S, [("edits", frozen.job, frozen.fence)]) == [frozen.job]
    assert kit.jobs.intend(frozen) == "stale"
    for decision in (SUCCEED, UNKNOWN, Retry(1.0, "x", "y")):
        assert kit.jobs.settle(frozen, decision) == []
    assert client.hgetall(f"rt:edits:state:{frozen.job}") == before
    assert current.fence > frozen.fence
    assert_consistent(client, [frozen.job])


def test_a_worker_is_stale_from_the_moment_of_rescue(kit: LaneKit) -> None:
    """When rescue has ended the lease of a worker, this worker cannot settle the job, even before the next claim."""
    kit.enqueue(kit.new())
    frozen = kit.claim(kit.dispatched()[0])
    kit.make_due("edits", "slots")
    kit.rescue()
    kit.jobs.settle(frozen, SUCCEED)
    assert kit.state(frozen.job) == "queued"


def test_a_repeated_settlement_does_nothing_more(kit: LaneKit, client: Any) -> None:
    """A settlement that is sent again after a lost reply has no effect, since the lease is released."""
    kit.enqueue(kit.new())
    claim = kit.claim(kit.dispatched()[0])
    kit.jobs.settle(claim, SUCCEED)
    kit.jobs.settle(claim, SUCCEED)
    assert client.hget("rt:edits:counts", "succeeded") == "1"
    assert [entry["type"] for entry in kit.jobs.timeline(claim.job)] == ["edit.running", "edit.succeeded"]


def test_an_intent_that_is_repeated_is_one_charge(kit: LaneKit) -> None:
    """An intent that is sent again after a lost reply counts as one attempt and one charge."""
    kit.enqueue(kit.new())
    claim = kit.claim(kit.dispatched()[0])
    assert [kit.jobs.intend(claim), kit.jobs.intend(claim)] == ["ok", "ok"]
    record = kit.jobs.record(claim.job)
    assert record is not None
    assert (record.attempt, len(record.charges)) == (1, 1)


def test_a_late_paid_answer_stops_the_second_post(kit: LaneKit) -> None:
    """
    When a late paid answer arrives after the next claim, `intend` returns this answer in place of `ok`, and nothing is
    POSTed.
    """
    frozen, current = taken_over(kit)
    kit.jobs.answer(frozen, "succeeded", READY)
    assert kit.jobs.intend(current) == READY
    record = kit.jobs.record(frozen.job)
    assert record is not None
    assert [charge.kind for charge in record.charges] == ["succeeded"]


@pytest.mark.parametrize("decision", [Retry(100.0, "outcome_unknown", "lost"), UNKNOWN])
def test_a_late_paid_answer_brings_a_job_back(kit: LaneKit, client: Any, decision: Retry | Fail) -> None:
    """A job that waits for a retry, or failed as unknown, continues from a late paid answer without another POST."""
    frozen, current = taken_over(kit)
    kit.jobs.settle(current, decision)
    messages, *_ = kit.jobs.answer(frozen, "succeeded", READY)
    assert messages == [("edits", frozen.job)]
    assert_consistent(client, [frozen.job])
    claim = kit.claim(frozen.job)
    assert resume(claim, RetryPolicy(max_charges=1), 30.0) == READY
    kit.jobs.settle(claim, SUCCEED)
    record = kit.jobs.record(frozen.job)
    assert record is not None
    assert (record.state, record.error) == ("succeeded", None)
    assert "edit.adopted" in [entry["type"] for entry in kit.jobs.timeline(frozen.job)]
    assert client.zcard("rt:edits:dead") == 0


def test_a_late_paid_answer_finds_a_job_that_waits_for_a_slot(kit: LaneKit) -> None:
    """A job that is back in the backlog continues from a late paid answer."""
    frozen, current = taken_over(kit)
    kit.jobs.settle(current, Retry(100.0, "outcome_unknown", "lost"))
    kit.lanes.pause()
    kit.make_due("edits", "timetable")
    kit.rescue()
    assert kit.state(frozen.job) == "queued"
    kit.jobs.answer(frozen, "processing", ASKED)
    kit.lanes.resume()
    kit.rescue()
    assert resume(kit.claim(frozen.job), RetryPolicy(max_charges=1), 30.0) == ASKED


def test_a_late_paid_answer_outlives_the_failure_of_the_attempt_beside_it(kit: LaneKit, client: Any) -> None:
    """
    When a late paid answer arrives during a second POST that fails for good, the job continues from the late answer.
    """
    frozen, current = taken_over(kit)
    assert kit.jobs.intend(current) == "ok"
    kit.jobs.answer(frozen, "succeeded", READY)
    kit.jobs.answer(current, "unknown", None)
    assert kit.jobs.settle(current, UNKNOWN) == [("edits", frozen.job)]
    assert_consistent(client, [frozen.job])
    assert resume(kit.claim(frozen.job), RetryPolicy(max_charges=1), 30.0) == READY


def test_a_late_paid_answer_is_a_second_charge(kit: LaneKit) -> None:
    """When a late paid answer arrives after the job has succeeded, the job has two charges and stays succeeded."""
    frozen, current = taken_over(kit)
    kit.jobs.intend(current)
    kit.jobs.answer(current, "succeeded", OTHER)
    kit.jobs.settle(current, SUCCEED)
    assert kit.jobs.answer(frozen, "succeeded", READY)[0] == []
    record = kit.jobs.record(frozen.job)
    assert record is not None
    assert (record.state, [charge.kind for charge in record.charges]) == ("succeeded", ["succeeded", "succeeded"])


def test_a_late_answer_to_a_cancelled_job_is_kept_for_a_replay(kit: LaneKit) -> None:
    """When a late paid answer arrives, a cancelled job stays cancelled. A replay continues from this answer."""
    frozen, _ = taken_over(kit)
    kit.jobs.cancel(frozen.job)
    kit.make_due("edits", "slots")
    kit.rescue()
    assert kit.jobs.cancel(frozen.job)[0] == "cancelled"
    assert kit.jobs.answer(frozen, "succeeded", READY)[0] == []
    assert kit.state(frozen.job) == "cancelled"
    assert kit.jobs.replay(frozen.job)[0] == "replayed"
    assert kit.claim(frozen.job).checkpoint == READY


def test_an_answer_that_cost_nothing_is_not_adopted(kit: LaneKit) -> None:
    """If a late answer says that the POST was refused, the charge becomes free, and the failed job stays failed."""
    frozen, current = taken_over(kit)
    kit.jobs.settle(current, UNKNOWN)
    assert kit.jobs.answer(frozen, "refused", None)[0] == []
    record = kit.jobs.record(frozen.job)
    assert record is not None
    assert (record.state, [charge.possible for charge in record.charges]) == ("failed", [False])


def test_cancelling_where_a_job_stands(kit: LaneKit, client: Any) -> None:
    """
    A waiting job is cancelled at once. A running or polled job is cancelled when its call ends. The record says whether
    the job was charged before. An ended job does not change.
    """
    waiting, dispatched, parked, polled, running = jobs = [kit.new() for _ in range(5)]
    kit.open(4, 0.0)
    kit.lanes.pause()
    kit.enqueue(*jobs)
    kit.lanes.resume()
    assert kit.jobs.cancel(waiting.id)[0] == "cancelled"
    kit.rescue()
    kit.finish(parked.id, Retry(100.0, "x", "y"))
    claim = kit.claim(polled.id)
    kit.jobs.intend(claim)
    kit.jobs.answer(claim, "processing", ASKED)
    from retouch.outcomes import Poll

    kit.jobs.settle(claim, Poll(100.0, ASKED))
    claim = kit.claim(running.id)
    answers = [kit.jobs.cancel(job.id)[0] for job in (dispatched, parked, polled, running)]
    assert answers == ["cancelled", "cancelled", "requested", "requested"]
    assert kit.jobs.intend(claim) == "cancelled"
    kit.jobs.settle(claim, Retry(1.0, "x", "y"))
    kit.make_due("edits", "slots")
    kit.rescue()
    looked = kit.claim(polled.id)
    assert looked.cancelled
    kit.jobs.answer(looked, "succeeded", READY)
    kit.jobs.settle(looked, SUCCEED)
    assert_consistent(client, [job.id for job in jobs])
    records = kit.jobs.records([job.id for job in jobs])
    assert [(record.state, record.cancelled) for record in records] == [
        ("cancelled", "before_charge"),
        ("cancelled", "before_charge"),
        ("cancelled", "before_charge"),
        ("cancelled", "after_charge"),
        ("cancelled", "before_charge"),
    ]
    assert records[3].images
    assert {kit.jobs.cancel(job.id)[0] for job in jobs} == {"final"}
    assert kit.jobs.cancel("ed_none")[0] == "unknown"


def test_a_replay_of_what_was_kept_is_done_at_once(kit: LaneKit, client: Any) -> None:
    """
    When a job was cancelled after its image was stored, a replay ends the job as succeeded at once, without a call.
    """
    kit.enqueue(kit.new())
    claim = kit.claim(kit.dispatched()[0])
    kit.jobs.intend(claim)
    kit.jobs.cancel(claim.job)
    kit.jobs.answer(claim, "succeeded", READY)
    kit.jobs.settle(claim, SUCCEED)
    assert kit.state(claim.job) == "cancelled"
    assert kit.jobs.replay(claim.job) == ("replayed", [])
    record = kit.jobs.record(claim.job)
    assert record is not None
    assert (record.state, record.images) == ("succeeded", (IMAGE,))
    assert_consistent(client, [claim.job])


def test_a_replay_forgives_and_starts_anew(kit: LaneKit, client: Any) -> None:
    """A replayed job may use all of its attempts, charges and time again."""
    frozen, current = taken_over(kit)
    kit.jobs.settle(current, UNKNOWN)
    assert client.zrange("rt:edits:dead", 0, -1) == [frozen.job]
    assert kit.jobs.replay(frozen.job) == ("replayed", [("edits", frozen.job)])
    claim = kit.claim(frozen.job)
    assert (claim.number, claim.possible_charges, claim.crashes, len(claim.charges)) == (0, 0, 0, 1)
    assert claim.deadline_at > claim.now_at + 3_590
    assert kit.jobs.replay(frozen.job)[0] == "open"
    kit.jobs.settle(claim, Succeed(Image(**vars_of(IMAGE))))
    assert kit.jobs.replay(frozen.job)[0] == "succeeded"
    assert kit.jobs.replay("ed_none")[0] == "unknown"
    assert_consistent(client, [frozen.job])


def vars_of(image: Image) -> dict[str, Any]:
    return {name: getattr(image, name) for name in image.__slots__}


def test_a_job_that_kills_ten_workers_ends(kit: LaneKit) -> None:
    """Each worker that dies while it holds a job is counted: after ten deaths the next claim has `crashes` 10."""
    kit.enqueue(kit.new())
    (job,) = kit.dispatched()
    for _ in range(10):
        kit.claim(job)
        kit.make_due("edits", "slots")
        kit.rescue()
    assert kit.claim(job).crashes == 10


def test_an_erased_job_gives_its_slot_back(kit: LaneKit, client: Any) -> None:
    """A message for a job that was erased releases the job's slot."""
    kit.enqueue(kit.new())
    (job,) = kit.dispatched()
    client.delete(f"rt:edits:spec:{job}")
    assert kit.jobs.claim(job, LEASE_S) is None
    assert kit.dispatched() == []
    assert client.hlen("rt:edits:held") == 0
