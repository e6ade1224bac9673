"""Tests of approvals in the store: only the result of a succeeded job has the mark, and the mark ends with the job."""

from __future__ import annotations

import time
from threading import Barrier, Thread
from typing import Any

import pytest

from retouch.outcomes import Fail, Ready, Succeed
from retouch.store import keys
from retouch.store.approvals import ApprovalStore
from retouch.store.records import JobRecord
from tests.lane_kit import IMAGE, RETENTION_S, LaneKit

READY = Ready(("https://out.example/a.png",), "7")
FAILED = Fail("spam_filter", "no", retryable=True)
ASKERS = 8


@pytest.fixture
def kit(client: Any) -> LaneKit:
    kit = LaneKit(client)
    kit.open(5, 0.0)
    return kit


@pytest.fixture
def approvals(client: Any) -> ApprovalStore:
    return ApprovalStore(client)


def ended(kit: LaneKit, decision: Any) -> str:
    """Return the id of a new job that ended with a decision."""
    job = kit.new()
    kit.enqueue(job)
    kit.finish(job.id, decision)
    return job.id


def record_of(kit: LaneKit, job: str) -> JobRecord:
    record = kit.jobs.record(job)
    assert record is not None
    return record


def test_a_mark_says_when_and_by_whom(kit: LaneKit, approvals: ApprovalStore) -> None:
    """
    The first approval stays, with its instant and its name, until it is taken back. Repeating either changes nothing.
    """
    job = ended(kit, Succeed(IMAGE))
    assert (record_of(kit, job).approved_at, record_of(kit, job).approved_by) == (None, "")
    assert [approvals.approve(job, name) for name in ("anna", "ben")] == ["approved", "unchanged"]
    record = record_of(kit, job)
    assert record.approved_by == "anna"
    assert record.approved_at == pytest.approx(time.time(), abs=60)
    assert [approvals.unapprove(job) for _ in range(2)] == ["unapproved", "unchanged"]
    assert (record_of(kit, job).approved_at, record_of(kit, job).approved_by) == (None, "")


def test_a_job_without_a_result_has_no_mark(kit: LaneKit, approvals: ApprovalStore, client: Any) -> None:
    """A job that waits, failed or was never enqueued cannot be approved. Nothing is written for such a job."""
    waiting = kit.new()
    kit.enqueue(waiting)
    failed = ended(kit, FAILED)
    for job, word in ((waiting.id, "no_result"), (failed, "no_result"), ("ed_none", "unknown")):
        before = client.hgetall(keys.state("edits", job))
        assert (approvals.approve(job, "anna"), approvals.unapprove(job)) == (word, word)
        assert client.hgetall(keys.state("edits", job)) == before


def test_the_mark_is_of_the_result_that_was_approved(kit: LaneKit, approvals: ApprovalStore) -> None:
    """
    A replay that makes a job succeed makes no mark: the new result must be approved. After that the job cannot be
    replayed, so its result stays the one that was approved.
    """
    kit.enqueue(kit.new())
    claim = kit.claim(kit.dispatched()[0])
    kit.jobs.intend(claim)
    kit.jobs.cancel(claim.job)
    kit.jobs.answer(claim, "succeeded", READY)
    kit.jobs.settle(claim, Succeed(IMAGE))
    assert approvals.approve(claim.job, "anna") == "no_result"
    assert kit.jobs.replay(claim.job)[0] == "replayed"
    assert record_of(kit, claim.job).approved_at is None
    assert approvals.approve(claim.job, "anna") == "approved"
    assert kit.jobs.replay(claim.job)[0] == "succeeded"
    assert record_of(kit, claim.job).approved_by == "anna"


def test_one_of_many_approvals_counts(kit: LaneKit, approvals: ApprovalStore) -> None:
    """Of several approvals at the same time, exactly one makes the mark, and the mark has its name."""
    job, begin = ended(kit, Succeed(IMAGE)), Barrier(ASKERS)
    words: dict[str, str] = {}

    def approve(name: str) -> None:
        begin.wait()
        words[name] = approvals.approve(job, name)

    askers = [Thread(target=approve, args=(f"person {number}",)) for number in range(ASKERS)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert sorted(words.values()) == ["approved", *["unchanged"] * (ASKERS - 1)]
    assert words[record_of(kit, job).approved_by] == "approved"


def test_the_mark_ends_with_the_job(kit: LaneKit, approvals: ApprovalStore, client: Any) -> None:
    """An approval does not prolong the life of the record, and leaves nothing behind once the record is gone."""
    job = ended(kit, Succeed(IMAGE))
    own = keys.state("edits", job)
    client.expire(own, int(RETENTION_S) // 2)
    approvals.approve(job, "anna")
    assert 0 < client.ttl(own) <= RETENTION_S / 2
    client.delete(own, keys.spec("edits", job))
    assert approvals.approve(job, "anna") == "unknown"
    assert not client.exists(own)
