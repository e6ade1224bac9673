"""Tests of approvals on the console, in a browser without JavaScript."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from retouch.outcomes import Succeed
from retouch.store.audit import AuditLog
from tests.gateway_process import Callers
from tests.integration.console.conftest import People, words_of
from tests.lane_kit import IMAGE, LaneKit

SHEET = "/console/jobs?tenant=acme&view=sheet"


@pytest.fixture
def done(kit: LaneKit) -> str:
    """Return the id of a job of the tenant acme that has succeeded, beside one that waits."""
    jobs = [kit.new(), kit.new()]
    kit.enqueue(*jobs)
    kit.finish(jobs[0].id, Succeed(IMAGE))
    return jobs[0].id


def fields_of(page: str) -> dict[str, str]:
    """Return the hidden fields of the only form on the contact sheet that approves a result."""
    (form,) = re.findall(r'<form class="frame-act".*?</form>', page, re.DOTALL)
    return {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form)}


def test_a_result_is_approved_on_the_contact_sheet(people: People, done: str, client: Any) -> None:
    """
    A form beside the picture approves the result, and leads back to the same sheet at this picture. The picture then
    has a sign that says by whom. The same form takes the mark back. A job without a result has no form.
    """
    person = people("staff", "ops")
    fields = fields_of(person.text(SHEET))
    assert fields == {"approved": "yes", "back": SHEET}
    answer = person.post(f"/console/jobs/{done}/approve", **fields)
    assert (answer.status_code, str(answer.url).partition("/console/")[2]) == (
        200,
        f"jobs?tenant=acme&view=sheet#{done}",
    )
    assert f'id="{done}"' in answer.text
    assert "Approved by staff&#39;s ops now" in answer.text
    fields = fields_of(answer.text)
    assert fields["approved"] == "no"
    assert "frame-approved" not in person.post(f"/console/jobs/{done}/approve", **fields).text
    lines = [(line.action, line.tenant, line.actor.surface) for line in reversed(AuditLog(client).lines())]
    assert lines == [("edit.approve", "acme", "console"), ("edit.unapprove", "acme", "console")]


def test_a_result_is_approved_on_the_page_of_its_job(people: People, callers: Callers, done: str, kit: LaneKit) -> None:
    """The page of a job shows the mark. A form sets it or takes it back. A job without a result has no such part."""
    person, page = people(), f"/console/jobs/{done}"
    assert "Nobody has approved the result." in words_of(person.text(page))
    approved = words_of(person.post(f"{page}/approve", approved="yes").text)
    assert "Approved. " in approved
    assert "Approved by acme&#39;s producer now" in approved
    assert callers("acme").get(f"/v1/edits/{done}").json()["approved_by"] == "acme's producer"
    assert "nothing was changed" in words_of(person.post(f"{page}/approve", approved="yes").text)
    assert "taken back" in words_of(person.post(f"{page}/approve", approved="no").text)
    assert callers("acme").get(f"/v1/edits/{done}").json()["approved_by"] is None
    (waiting,) = kit.dispatched()
    assert "Approval" not in person.text(f"/console/jobs/{waiting}")
    assert person.post(f"/console/jobs/{waiting}/approve", approved="yes").status_code == 409


def test_who_may_not_approve(people: People, done: str) -> None:
    """
    A viewer sees the mark and no form, and is answered 403. Another tenant is answered 404. An answer never leads to
    another site.
    """
    people().post(f"/console/jobs/{done}/approve", approved="yes", back="https://evil.example/console")
    viewer = people("watchers", "viewer")
    sheet = viewer.text("/console/jobs?view=sheet")
    assert "frame-approved" in sheet
    assert "frame-act" not in sheet
    assert "Approved by" in words_of(viewer.text(f"/console/jobs/{done}"))
    assert "/approve" not in viewer.text(f"/console/jobs/{done}")
    assert viewer.post(f"/console/jobs/{done}/approve", approved="no").status_code == 403
    assert people("globex").post(f"/console/jobs/{done}/approve", approved="no").status_code == 404
    assert "frame-approved" in viewer.text("/console/jobs?view=sheet")
    answer = people().browser.post(
        f"/console/jobs/{done}/approve", data={"back": "https://evil.example/console"}, follow_redirects=False
    )
    assert answer.headers["location"] == f"/console#{done}"
