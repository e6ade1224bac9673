"""Tests of the audit page, which shows the lines of `GET /v1/audit` with filters, page by page, to role ops alone."""

from __future__ import annotations

import re
from typing import Any

from retouch.store.audit import Actor, AuditLog
from tests.gateway_process import Callers
from tests.integration.conftest import ParsedEdit
from tests.integration.console.conftest import People, words_of


def actions_of(page: str) -> list[str]:
    return re.findall(r'log-main"><a[^>]*>([^<]*)<', page)


def test_it_shows_what_the_api_returns(people: People, callers: Callers, edit_body: ParsedEdit) -> None:
    """The page has the same lines as the API, newest first, with actor, surface and links to the changed objects."""
    api, ops_api = callers("acme"), callers("staff", "ops")
    job = api.post("/v1/edits", edit_body()).json()["id"]
    receiver = api.post("/v1/receivers", {"url": "https://example.com/hook"}).json()["id"]
    ops = people("staff", "ops")
    ops.post(f"/console/jobs/{job}/cancel")
    ops.post(f"/console/jobs/{job}/cancel")
    ops.post("/console/lanes/edits/pause")
    ops.post("/console/tenants/acme/limits", weight="2")
    ops.post("/console/lanes/edits/resume")
    page = ops.text("/console/audit")
    lines = ops_api.get("/v1/audit").json()["data"]
    assert actions_of(page) == [line["action"] for line in lines]
    assert actions_of(page) == ["lane.resume", "tenant.limits", "lane.pause", "edit.cancel", "receiver.add"]
    assert f'<a href="/console/jobs/{job}">{job}</a>' in page
    assert f'<a href="/console/receivers/{receiver}">{receiver}</a>' in page
    words = words_of(page)
    assert "staff&#39;s ops ops, console" in words
    assert "test producer, http" in words
    assert "limits backlog limit no limit, budget no limit, in flight limit no limit, weight 2" in words


def test_filters_and_pages(people: People, client: Any) -> None:
    """
    The page filters lines by action, key, surface, tenant and time. The next page continues where the first page ends.
    """
    log, ops = AuditLog(client), people("staff", "ops")
    for number in range(60):
        log.record(Actor("http", "key_a", "anna", "ops"), "edit.cancel", f"t{number:02}")
    log.record(Actor("cli"), "bulk.replay", "acme", query="state:failed")
    log.record(Actor("cli"), "bulks.odd")
    assert actions_of(ops.text("/console/audit?action=bulk")) == ["bulk.replay"]
    assert actions_of(ops.text("/console/audit?actor=cli")) == ["bulks.odd", "bulk.replay"]
    assert len(actions_of(ops.text("/console/audit?actor=key_a"))) == 50
    assert actions_of(ops.text("/console/audit?tenant=acme")) == ["bulk.replay"]
    assert actions_of(ops.text("/console/audit?actor=anna&action=bulk")) == []
    assert actions_of(ops.text("/console/audit?since=2999-01-01")) == []
    assert actions_of(ops.text("/console/audit?until=2020-01-01")) == []
    first = ops.text("/console/audit?actor=anna&since=2020-01-01&until=2999-01-01")
    (older,) = re.findall(r'href="([^"]+)" rel="next"', first)
    second = ops.text(older.replace("&amp;", "&"))
    assert re.findall(r">(t\d\d)<", first) + re.findall(r">(t\d\d)<", second) == [
        f"t{at:02}" for at in range(59, -1, -1)
    ]
    assert 'rel="next"' not in second
    assert ops.get("/console/audit?since=soon").status_code == 422
    assert ops.get("/console/audit?cursor=odd").status_code == 422


def test_only_ops_reads_it(people: People) -> None:
    """The audit page answers 403 to other roles, and the pages of these roles do not link to it."""
    for person in (people("staff", "viewer"), people("acme")):
        assert person.get("/console/audit").status_code == 403
        assert "/console/audit" not in person.text("/console")
    assert 'href="/console/audit"' in people("staff", "ops").text("/console")
