"""Tests of approvals over HTTP and on the command line: roles, tenants, conflicts, repetition and the audit."""

from __future__ import annotations

from typing import Any

import pytest

from retouch.outcomes import Fail, Succeed
from retouch.store.audit import AuditLog
from retouch.store.tenants import TenantStore
from tests.command_line import typed
from tests.gateway_process import Api, Callers, problem
from tests.lane_kit import IMAGE, LaneKit


@pytest.fixture
def api(callers: Callers) -> Api:
    return callers()


@pytest.fixture
def done(kit: LaneKit) -> str:
    """Return the id of a job of the tenant acme that has succeeded."""
    job = kit.new()
    kit.enqueue(job)
    kit.finish(job.id, Succeed(IMAGE))
    return job.id


def test_a_result_is_approved_and_the_mark_taken_back(api: Api, done: str, client: Any) -> None:
    """
    The document of a job says when and by whom it was approved, also in lists. A repeated request is answered 200 and
    changes nothing. The audit has a line for each change.
    """
    job = api.get(f"/v1/edits/{done}").json()
    assert (job["approved_at"], job["approved_by"]) == (None, None)
    first, again = api.post(job["links"]["approve"]).json(), api.post(job["links"]["approve"]).json()
    assert (first["outcome"], again["outcome"]) == ("approved", "unchanged")
    assert first["job"]["approved_by"] == "test"
    assert first["job"]["approved_at"] == again["job"]["approved_at"] > job["finished_at"]
    (listed,) = api.get("/v1/edits").json()["data"]
    assert (listed["approved_at"], listed["approved_by"]) == (first["job"]["approved_at"], "test")
    undone = [api.post(job["links"]["unapprove"]).json() for _ in range(2)]
    assert [one["outcome"] for one in undone] == ["unapproved", "unchanged"]
    assert (undone[0]["job"]["approved_at"], undone[0]["job"]["approved_by"]) == (None, None)
    lines = AuditLog(client).lines()
    assert [(line.action, line.tenant, line.actor.surface, line.actor.name) for line in reversed(lines)] == [
        ("edit.approve", "acme", "http", "test"),
        ("edit.unapprove", "acme", "http", "test"),
    ]
    assert [line.details for line in reversed(lines)] == [
        {"ids": [done], "outcome": "approved"},
        {"ids": [done], "outcome": "unapproved"},
    ]


def test_a_job_without_a_result_is_a_conflict(api: Api, kit: LaneKit, client: Any) -> None:
    """Approving a job that waits or has failed is answered 409, and so is taking its mark back. No line is written."""
    waiting, failed = kit.new(), kit.new()
    kit.enqueue(waiting, failed)
    kit.finish(failed.id, Fail("spam_filter", "no", retryable=True))
    for job in (waiting.id, failed.id):
        for verb in ("approve", "unapprove"):
            problem(api.post(f"/v1/edits/{job}/{verb}"), "conflict", 409)
        assert api.get(f"/v1/edits/{job}").json()["approved_at"] is None
    assert AuditLog(client).lines() == []


def test_an_approved_job_is_not_replayed(api: Api, done: str) -> None:
    """A replay of an approved job is answered 409, and the mark stays with its result."""
    before = api.post(f"/v1/edits/{done}/approve").json()["job"]
    problem(api.post(f"/v1/edits/{done}/replay"), "conflict", 409)
    after = api.get(f"/v1/edits/{done}").json()
    assert (after["approved_at"], after["result"]["sha256"]) == (before["approved_at"], before["result"]["sha256"])


def test_who_may_approve(callers: Callers, done: str, client: Any) -> None:
    """
    A viewer is answered 403, and another tenant's key 404 as for an unknown job. A key of role ops may approve; a key
    without a name is named by its id.
    """
    for verb in ("approve", "unapprove"):
        problem(callers("watchers", "viewer").post(f"/v1/edits/{done}/{verb}"), "forbidden", 403)
        problem(callers("globex").post(f"/v1/edits/{done}/{verb}"), "not-found", 404)
        problem(callers("acme").post(f"/v1/edits/ed_none/{verb}"), "not-found", 404)
    key, secret = TenantStore(client).create_key("staff", "ops")
    assert callers.with_secret(secret).post(f"/v1/edits/{done}/approve").json()["job"]["approved_by"] == key.id
    assert callers("watchers", "viewer").get(f"/v1/edits/{done}").json()["approved_by"] == key.id


@pytest.mark.usefixtures("queue")
def test_on_the_command_line(done: str, kit: LaneKit, client: Any) -> None:
    """
    `retouch approve` and `unapprove` print the outcome of each job. `retouch job` shows the mark, with the surface as
    its name. The exit code is 1 for a job without a result, and 2 for an unknown id.
    """
    waiting = kit.new()
    kit.enqueue(waiting)
    assert typed("approve", done, "--json").json == {done: "approved"}
    again = typed("approve", done)
    assert (again.code, again.out) == (0, f"{done}  unchanged: the mark was so before\n")
    document = typed("job", done, "--json").json
    assert document["approved_by"] == "cli"
    assert f"approved  {document['approved_at']} by cli\n" in typed("job", done).out
    refused = typed("approve", done, waiting.id)
    assert refused.code == 1
    assert f"{waiting.id}  no_result: only the result of a succeeded job can be approved\n" in refused.out
    assert typed("approve", "ed_none").code == typed("approve").code == 2
    assert typed("unapprove", done).out == f"{done}  unapproved\n"
    assert "approved  " not in typed("job", done).out
    lines = [(line.action, line.tenant, line.actor.surface) for line in reversed(AuditLog(client).lines())]
    assert lines == [("edit.approve", "acme", "cli"), ("edit.unapprove", "acme", "cli")]
