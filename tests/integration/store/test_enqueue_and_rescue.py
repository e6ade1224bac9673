"""Tests of enqueueing in order and without duplicates, of rescue, and of deadlines of waiting jobs."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from retouch.errors import IdempotencyConflict
from retouch.outcomes import Busy, Ready, Retry, Succeed
from retouch.store.jobs import NewJob
from tests.lane_kit import IMAGE, LEASE_S, RETENTION_S, LaneKit, assert_consistent, assert_no_idle_slot

READY = Ready(("https://out.example/a.png",), "7")
SUCCEED = Succeed(IMAGE)


@pytest.fixture
def kit(client: Any) -> LaneKit:
    return LaneKit(client)


def test_a_repeated_key_gives_the_same_job(kit: LaneKit, client: Any) -> None:
    """
    With a repeated idempotency key, the same request returns the same job, and another request is a conflict. If
    another tenant uses the key, a new job is made.
    """
    first = kit.new(key="order 17", fingerprint="f1")
    assert kit.jobs.enqueue([first])[0][0].kind == "new"
    same, conflict, foreign = (
        kit.jobs.enqueue([kit.new(tenant, key="order 17", fingerprint=print_)])[0][0]
        for tenant, print_ in (("acme", "f1"), ("acme", "f2"), ("other", "f1"))
    )
    assert (same.kind, same.id) == ("replayed", first.id)
    assert isinstance(conflict.error, IdempotencyConflict)
    assert (foreign.kind, foreign.id != first.id) == ("new", True)
    assert client.zcard("rt:jobs:acme") == 1
    assert 0 < client.ttl("rt:idem:acme:order 17") <= 86_400


def test_a_lost_reply_is_repeated_without_a_second_job(kit: LaneKit, client: Any) -> None:
    """When a script runs again after a lost reply, each job is answered `new` again, and no second job is made."""
    jobs = [kit.new(), kit.new(key="k", fingerprint="f")]
    kinds = [[result.kind for result in kit.jobs.enqueue(jobs)[0]] for _ in range(2)]
    assert kinds == [["new", "new"]] * 2
    assert client.zcard("rt:jobs:acme") == 2
    assert_consistent(client, [job.id for job in jobs])


def test_two_thousand_jobs_are_enqueued_and_run_in_order(kit: LaneKit, client: Any) -> None:
    """A call with 2,000 jobs returns the results in order, and the backlog has the jobs in that order."""
    kit.open(1, 0.0)
    jobs = [kit.new() for _ in range(2_000)]
    results, messages = kit.jobs.enqueue(jobs)
    assert [result.id for result in results] == [job.id for job in jobs]
    assert messages == [("edits", jobs[0].id)]
    assert client.zrange("rt:edits:backlog:acme", 0, -1) == [job.id for job in jobs[1:]]


def test_a_hundred_threads_with_one_key_make_one_job(kit: LaneKit, client: Any) -> None:
    """Of 100 threads with one idempotency key, the first creates the job. All other threads get the id of this job."""
    jobs = [kit.new(key="order-17", fingerprint="f") for _ in range(100)]
    ids: list[str] = []
    start = threading.Barrier(100)

    def enqueue(job: NewJob) -> None:
        start.wait()
        ids.append(kit.jobs.enqueue([job])[0][0].id)

    threads = [threading.Thread(target=enqueue, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 100
    assert len(set(ids)) == 1
    assert client.zcard("rt:jobs:acme") == 1


def test_a_sweep_after_an_outage_gives_holders_a_heartbeats_time(kit: LaneKit, client: Any) -> None:
    """The first sweep after an outage keeps expired leases. The workers can then renew these leases."""
    kit.open(5, 0.0)
    kit.enqueue(kit.new())
    kit.rescue()
    claim = kit.claim(kit.dispatched()[0])
    kit.make_due("edits", "slots")
    client.hset("rt:rescue", "last_at", 1)
    assert kit.rescue() == []
    assert kit.state(claim.job) == "running"
    assert kit.lanes.heartbeat(LEASE_S, [("edits", claim.job, claim.fence)]) == []
    kit.make_due("edits", "slots")
    assert kit.rescue() == [("edits", claim.job)]


def test_the_first_in_a_tick_sweeps_for_all(kit: LaneKit) -> None:
    """
    A second call of rescue within one interval does not sweep. The call returns the time until the next call, and no
    messages.
    """
    kit.lanes.rescue(60.0, LEASE_S, RETENTION_S)
    kit.enqueue(*(kit.new() for _ in range(3)))
    kit.make_due("edits", "slots")
    due_s, messages = kit.lanes.rescue(60.0, LEASE_S, RETENTION_S)
    assert messages == []
    assert 60 < due_s <= 120


def test_lost_messages_are_sent_again(kit: LaneKit) -> None:
    """
    If the message for a job with a slot was lost, rescue sends another. Only the first of two claims gets the job.
    """
    kit.open(5, 0.0)
    kit.enqueue(kit.new())
    (job,) = kit.dispatched()
    kit.make_due("edits", "slots")
    assert kit.rescue() == [("edits", job)]
    assert kit.jobs.claim(job, LEASE_S) is not None
    assert kit.jobs.claim(job, LEASE_S) is None


def test_retries_wait_in_the_timetable(kit: LaneKit, client: Any) -> None:
    """A job that waits for a retry holds no slot. When the retry is due, the job joins the backlog by its age."""
    kit.open(1, 0.0)
    first, second = kit.new(), kit.new()
    kit.enqueue(first)
    kit.enqueue(second)
    kit.finish(first.id, Retry(100.0, "endpoint_failed", "no"))
    assert kit.dispatched() == [second.id]
    assert kit.state(first.id) == "retrying"
    kit.make_due("edits", "timetable")
    kit.rescue()
    assert kit.state(first.id) == "queued"
    assert_no_idle_slot(client, "edits")
    assert kit.finish(second.id, SUCCEED) == [("edits", first.id)]


def bucket_is_due(client: Any, job: str) -> None:
    """Put a job into a bucket of deadlines that is due and has not been swept."""
    swept = int(client.hget("rt:edits:gate", "deadlines_swept"))
    client.rpush(f"rt:edits:deadlines:{swept}", job)
    client.hset("rt:edits:gate", "deadlines_swept", swept - 1)


def test_a_deadline_ends_what_waits(kit: LaneKit, client: Any) -> None:
    """A waiting job fails at its deadline. A claimed job goes on, because its worker decides how it ends."""
    kit.open(1, 0.0)
    running, waiting = kit.new(), kit.new()
    kit.enqueue(running, waiting)
    claim = kit.claim(running.id)
    for job in (running, waiting):
        bucket_is_due(client, job.id)
        kit.rescue()
    record = kit.jobs.record(waiting.id)
    assert record is not None
    assert (record.state, record.error and record.error.code) == ("failed", "deadline_passed")
    assert kit.state(claim.job) == "running"
    kit.jobs.settle(claim, SUCCEED)
    assert kit.state(claim.job) == "succeeded"


def test_a_deadline_does_not_take_what_was_paid(kit: LaneKit, client: Any) -> None:
    """The deadline does not end a job that waits for the download of a paid image."""
    kit.open(1, 0.0)
    kit.enqueue(kit.new())
    claim = kit.claim(kit.dispatched()[0])
    kit.jobs.intend(claim)
    kit.jobs.answer(claim, "succeeded", READY)
    kit.jobs.settle(claim, Retry(5.0, "result_not_yet", "404"))
    bucket_is_due(client, claim.job)
    kit.rescue()
    assert kit.state(claim.job) == "retrying"


def test_what_a_waiting_job_weighs(kit: LaneKit, client: Any) -> None:
    """A waiting job with the documented example request takes at most 700 bytes of Redis."""
    picture = "https://d1okzptojspljx.cloudfront.net/generations/b3341a09-082e-474e-989f-72ec3f3bf7aa-0.png"
    from retouch import Edit, Settings
    from retouch.admission import Options, admit, resolve_options

    edit = Edit(prompt="make him woman", init_image=picture, image_guidance_scale=1, steps=50, guidance_scale=7)
    terms = resolve_options(Options(), Settings(), lambda *_: "")
    count = 20_000
    kit.jobs.enqueue([admit(edit, terms)])
    before = client.info("memory")["used_memory"]
    kit.jobs.enqueue([admit(edit, terms) for _ in range(count)])
    assert (client.info("memory")["used_memory"] - before) / count <= 700
    client.flushdb()


def test_busy_means_no_attempt_and_no_charge(kit: LaneKit) -> None:
    """
    When the endpoint refuses a POST because its queue is full, the refusal uses no attempt and no charge, even after 25
    refusals.
    """
    from retouch.policy import RetryPolicy, decide

    kit.open(1, 0.0)
    kit.enqueue(kit.new())
    (job,) = kit.dispatched()
    for _ in range(25):
        claim = kit.claim(job)
        kit.jobs.intend(claim)
        kit.jobs.answer(claim, "refused", None, "full")
        decision = decide(Busy("queue_full", "full", 1.0), claim.attempt(), RetryPolicy(), claim.now_at, 0.5)
        kit.jobs.settle(claim, decision)
        kit.make_due("edits", "timetable")
        kit.rescue()
    claim = kit.claim(job)
    assert (claim.number, claim.possible_charges) == (0, 0)
    kit.jobs.intend(claim)
    kit.jobs.answer(claim, "succeeded", READY)
    assert claim.attempt().waits == 0
    kit.jobs.settle(claim, Retry(1.0, "result_not_yet", "404"))
    kit.make_due("edits", "timetable")
    kit.rescue()
    assert kit.claim(job).waits == 1
