"""
Tests of idempotency keys and shared duplicates: which request makes a job, and which request gets an existing job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from retouch.errors import IdempotencyConflict
from retouch.outcomes import Fail, Succeed
from retouch.store.jobs import EnqueueResult, NewJob
from retouch.store.ledger import Ledger
from retouch.store.tenants import TenantStore
from tests.gateway_process import Api, Callers, problem
from tests.lane_kit import IMAGE, LaneKit, assert_consistent

FAILED = Fail("endpoint_failed", "enough", retryable=True)


@pytest.fixture
def sharing(kit: LaneKit, client: Any) -> LaneKit:
    """Return a `LaneKit` on a store where the tenant acme shares duplicates."""
    TenantStore(client).set_tenant("acme", share_duplicates=True)
    return kit


@pytest.fixture
def api(callers: Callers, client: Any) -> Api:
    """Return a caller of tenant globex, which shares duplicates."""
    TenantStore(client).set_tenant("globex", share_duplicates=True)
    return callers("globex")


def equal(kit: LaneKit, count: int) -> list[NewJob]:
    """Return equal edits, each with its own idempotency key."""
    return [kit.new(share_key="same", key=f"key {at}", fingerprint="f") for at in range(count)]


def put(kit: LaneKit, *jobs: NewJob) -> list[EnqueueResult]:
    return kit.jobs.enqueue(jobs)[0]


def fail(kit: LaneKit, job: str) -> None:
    kit.finish(job, FAILED)


def cancel(kit: LaneKit, job: str) -> None:
    kit.jobs.cancel(job)


def cancel_in_flight(kit: LaneKit, job: str) -> None:
    kit.claim(job)
    assert kit.jobs.cancel(job)[0] == "requested"


def lose_the_record(kit: LaneKit, job: str) -> None:
    kit.jobs.cancel(job)
    kit.client.delete(f"rt:edits:spec:{job}", f"rt:edits:state:{job}", f"rt:timeline:{job}")


def lose_the_image(kit: LaneKit, job: str) -> None:
    kit.finish(job, Succeed(IMAGE))
    kit.client.zrem("rt:blobs", IMAGE.name)


ENDS = [fail, cancel, cancel_in_flight, lose_the_record, lose_the_image]


def test_equal_edits_of_one_call_are_one_job(sharing: LaneKit, client: Any) -> None:
    """Five equal edits in one call make one job. Later, the idempotency key of each edit returns this job."""
    jobs = equal(sharing, 5)
    results = put(sharing, *jobs)
    assert [result.kind for result in results] == ["new"] + ["shared"] * 4
    assert {result.id for result in results} == {jobs[0].id}
    again = put(sharing, *equal(sharing, 5))
    assert {(result.kind, result.id) for result in again} == {("replayed", jobs[0].id)}
    assert client.zcard("rt:jobs:acme") == 1
    assert 0 < client.ttl("rt:shared:acme:same") <= 86_400


@pytest.mark.parametrize("end", ENDS)
def test_a_job_that_yields_no_image_is_replaced_once(sharing: LaneKit, end: Callable[[LaneKit, str], None]) -> None:
    """
    If a job can no longer yield an image, five duplicates in one call make one new job. Later, the idempotency key of
    each duplicate returns the new job.
    """
    sharing.open(5, 0.0)
    [first] = put(sharing, sharing.new(share_key="same"))
    end(sharing, first.id)
    results = put(sharing, *equal(sharing, 5))
    assert Counter(result.kind for result in results) == {"new": 1, "shared": 4}
    assert len({result.id for result in results} - {first.id}) == 1
    assert {result.id for result in put(sharing, *equal(sharing, 5))} == {results[0].id}


@pytest.mark.parametrize("end", ENDS)
def test_ten_producers_replace_a_job_once(sharing: LaneKit, end: Callable[[LaneKit, str], None]) -> None:
    """If a job can no longer yield an image, ten duplicates that are enqueued at the same moment make one new job."""
    sharing.open(5, 0.0)
    [first] = put(sharing, sharing.new(share_key="same"))
    end(sharing, first.id)
    with ThreadPoolExecutor(10) as pool:
        results = [result for [result] in pool.map(lambda job: put(sharing, job), equal(sharing, 10))]
    assert Counter(result.kind for result in results) == {"new": 1, "shared": 9}
    assert len({result.id for result in results}) == 1


def test_an_image_that_is_kept_is_shared(sharing: LaneKit, ledger: Ledger) -> None:
    """A duplicate of a job that succeeded returns that job, even if the tenant's backlog is full."""
    sharing.open(1, 0.0)
    [first] = put(sharing, sharing.new(share_key="same"))
    sharing.finish(first.id, Succeed(IMAGE))
    ledger.set_limits("acme", backlog_limit=1)
    for _ in range(2):  # one runs, one waits
        put(sharing, sharing.new())
    assert [(one.kind, one.id) for one in put(sharing, *equal(sharing, 2))] == [("shared", first.id)] * 2
    assert put(sharing, sharing.new())[0].kind == "refused"


def test_a_key_that_came_with_another_request_conflicts(sharing: LaneKit, client: Any) -> None:
    """
    If an idempotency key comes with another request, the result is a conflict, even if the new request is a duplicate
    of a known job. If the key comes with its first request, the result is the job of this request.
    """
    [first, other] = put(sharing, *equal(sharing, 1), sharing.new(share_key="other"))
    [conflict] = put(sharing, sharing.new(share_key="other", key="key 0", fingerprint="another"))
    assert isinstance(conflict.error, IdempotencyConflict)
    assert [(one.kind, one.id) for one in put(sharing, *equal(sharing, 1))] == [("replayed", first.id)]
    assert {first.id, other.id} == set(client.zrange("rt:jobs:acme", 0, -1))


def test_a_lost_reply_makes_no_second_job(sharing: LaneKit, client: Any) -> None:
    """If the script runs twice with the same jobs, as after a lost reply, each request gets the same job both times."""
    jobs = [*equal(sharing, 3), sharing.new(share_key="same")]
    ids = [[result.id for result in put(sharing, *jobs)] for _ in range(2)]
    assert ids == [[jobs[0].id] * 4] * 2
    assert client.zcard("rt:jobs:acme") == 1
    assert_consistent(client, [jobs[0].id])


def test_a_tenant_that_shares_nothing_gets_every_job(kit: LaneKit) -> None:
    """Equal edits are separate jobs if their tenants differ, or if the tenant does not share duplicates."""
    assert [result.kind for result in put(kit, *equal(kit, 3))] == ["new"] * 3
    TenantStore(kit.client).set_tenant("other", share_duplicates=True)
    assert put(kit, kit.new("other", share_key="same"))[0].kind == "new"


def test_a_question_puts_nothing_in(sharing: LaneKit, client: Any) -> None:
    """
    A job without a spec is not enqueued. The result is the job of the idempotency key, or `absent` for an unknown key.
    """
    [job] = equal(sharing, 1)
    question = job._replace(spec_json="")
    assert put(sharing, question)[0].kind == "absent"
    assert client.zcard("rt:jobs:acme") == 0
    put(sharing, job)
    assert put(sharing, sharing.new()._replace(spec_json="", idempotency_key="key 0", fingerprint="f"))[0].id == job.id
    assert isinstance(put(sharing, question._replace(id="ed_x", fingerprint="g"))[0].error, IdempotencyConflict)


def test_a_batch_after_a_cancelled_job_makes_one(api: Api, edit_body: Callable[..., Any]) -> None:
    """The only job of an edit was cancelled. A batch with the same edit five times then makes exactly one new job."""
    first = api.post("/v1/edits", edit_body()).json()
    api.post(first["links"]["cancel"])
    edits = [edit_body(idempotency_key=f"key {at}") for at in range(5)]
    items = api.post("/v1/edits/batch", {"edits": edits}).json()["items"]
    assert sorted(item["shared"] for item in items) == [False] + [True] * 4
    [job] = {item["id"] for item in items}
    assert job != first["id"]
    again = api.post("/v1/edits/batch", {"edits": edits}).json()["items"]
    assert [(item["id"], item["replayed"]) for item in again] == [(job, True)] * 5
    assert len(api.get("/v1/edits").json()["data"]) == 2


def test_ten_requests_after_a_cancelled_job_make_one(api: Api, edit_body: Callable[..., Any]) -> None:
    """
    After the only job of an edit was cancelled, ten simultaneous requests for this edit make one new job. The key of
    each request returns the new job.
    """
    first = api.post("/v1/edits", edit_body()).json()
    api.post(first["links"]["cancel"])

    def ask(at: int) -> dict[str, Any]:
        answer: dict[str, Any] = api.post("/v1/edits", edit_body(), headers={"Idempotency-Key": f"key {at}"}).json()
        return answer

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask, range(10)))
        again = list(pool.map(ask, range(10)))
    [job] = {one["id"] for one in answers + again} - {first["id"]}
    assert sum(not one["shared"] for one in answers) == 1
    assert {(one["id"], one["replayed"]) for one in again} == {(job, True)}
    assert len(api.get("/v1/edits").json()["data"]) == 2
    other = api.post("/v1/edits", edit_body(steps=3), headers={"Idempotency-Key": "key 3"})
    problem(other, "idempotency-conflict", 422)
