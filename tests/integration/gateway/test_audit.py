"""Tests of the audit log on each surface. Each change adds one line with the actor and the change, without secrets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from retouch import Edit, EditQueue
from retouch.store import keys
from retouch.store.audit import LINES_OF_PRODUCER_MOST, LOOKED_AT_MOST, Actor, AuditFilter, AuditLog
from tests.command_line import typed
from tests.conftest import RunningWorker, Sink
from tests.gateway_process import Callers, problem
from tests.process_watch import eventually

EDIT = Edit(prompt="a planted prompt", init_image="https://example.com/planted.png")


def test_changes_over_http(
    callers: Callers, edit_body: Callable[..., Any], client: Any, sink: Sink, module_worker: RunningWorker
) -> None:
    """
    Each change of a job, lane, receiver or bulk run adds one line. A read, a refusal and a repeated cancel add none. No
    line has a prompt, URL or secret.
    """
    api, ops = callers(), callers("staff", "ops")
    ops.post("/v1/pause")
    job = api.post("/v1/edits", edit_body(prompt="a planted prompt", webhook=sink.url)).json()["id"]
    api.post(f"/v1/edits/{job}/cancel")
    api.post(f"/v1/edits/{job}/cancel")
    api.post(f"/v1/edits/{job}/replay")
    receiver = api.post("/v1/receivers", {"url": sink.url + "/planted"}).json()["id"]
    for verb in ("rotate", "disable", "enable"):
        assert api.post(f"/v1/receivers/{receiver}/{verb}").status_code == 200
    api.post(f"/v1/receivers/{receiver}/redeliver?since=2026-01-01")
    api.ask("DELETE", f"/v1/receivers/{receiver}")
    run = api.post("/v1/bulk", {"action": "cancel", "query": "state:queued"}).json()["id"]
    assert eventually(lambda: api.get(f"/v1/bulk/{run}").json()["state"] == "done", within_s=30.0)
    assert eventually(lambda: "bulk.done" in [one["action"] for one in lines_of(ops)], within_s=10.0)
    api.get("/v1/edits")
    problem(api.post("/v1/pause"), "forbidden", 403)
    ops.post("/v1/resume")
    lines = lines_of(ops)
    assert [one["action"] for one in reversed(lines)] == [
        *("lane.pause", "edit.cancel", "edit.replay", "receiver.add", "receiver.rotate", "receiver.disable"),
        *("receiver.enable", "receiver.redeliver", "receiver.remove", "bulk.cancel", "bulk.done", "lane.resume"),
    ]
    by_action = {one["action"]: one for one in lines}
    cancel = by_action["edit.cancel"]
    assert cancel["by"] | {"key": ""} == {"surface": "http", "key": "", "name": "test", "role": "producer"}
    assert cancel["by"]["key"].startswith("key_")
    assert (cancel["tenant"], cancel["details"]) == ("acme", {"ids": [job], "outcome": "cancelled"})
    assert by_action["bulk.cancel"]["details"]["preview"]["jobs"] == 1
    assert by_action["bulk.cancel"]["details"]["query"].startswith("tenant:acme state:queued until:")
    assert by_action["bulk.done"]["details"] == {"bulk": run, "outcomes": {"cancelled": 1}}
    text = json.dumps(lines)
    assert not [word for word in ("planted", "http://", "whsec_", "rtk_", api.secret) if word in text]


def lines_of(ops: Any, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ops.get("/v1/audit", params=query).json()["data"]
    return found


def test_pages(callers: Callers, client: Any) -> None:
    """The pages have each line once, newest first. A wrong cursor is refused."""
    ops, log = callers("staff", "ops"), AuditLog(client)
    for number in range(7):
        log.record(Actor("cli"), "key.create", f"t{number}", ids=[f"key_{number}"])
    found, cursor = list[str](), ""
    while True:
        page = ops.get("/v1/audit", params={"limit": 3, "cursor": cursor}).json()
        found += [one["tenant"] for one in page["data"]]
        assert page["has_more"] is (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        cursor = page["next_cursor"]
    assert found == [f"t{number}" for number in reversed(range(7))]
    assert lines_of(ops, since="2999-01-01") == []
    problem(ops.get("/v1/audit?cursor=x"), "invalid-request", 422)


def test_filters(callers: Callers, client: Any) -> None:
    """
    Lines are filtered by action, actor, tenant and time. If a search has read as many lines as one request may read,
    the next page continues it.
    """
    ops, log = callers("staff", "ops"), AuditLog(client)
    log.record(Actor("cli"), "bulk.cancel", "oldest")
    with client.pipeline() as pipe:
        for number in range(LOOKED_AT_MOST):
            line = {"action": "key.create", "surface": "cli", "key": "", "name": "", "role": "", "tenant": f"{number}"}
            pipe.xadd(keys.AUDIT, {**line, "details": "{}"})
        pipe.execute()
    log.record(Actor("http", "key_1", "anna", "ops"), "bulk.cancel", "newest")
    assert [one["tenant"] for one in lines_of(ops, action="bulk")] == ["newest"]
    page = ops.get("/v1/audit", params={"action": "bulk.cancel"}).json()
    assert page["has_more"]
    assert [one["tenant"] for one in lines_of(ops, action="bulk", cursor=page["next_cursor"])] == ["oldest"]
    assert [one["tenant"] for one in lines_of(ops, actor="anna")] == ["newest"]
    assert [one["tenant"] for one in lines_of(ops, actor="key_1", action="bulk")] == ["newest"]
    assert lines_of(ops, action="bul") == []
    assert [one["tenant"] for one in lines_of(ops, tenant="newest")] == ["newest"]
    assert [one.tenant for one in log.lines(AuditFilter(tenant="oldest"))] == ["oldest"]
    assert lines_of(ops, until="2020-01-01") == lines_of(ops, since="2999-01-01") == []
    (newest,) = lines_of(ops, actor="anna", since="2020-01-01", until="2999-01-01")
    assert lines_of(ops, actor="anna", until=newest["at"]) == []
    assert lines_of(ops, actor="anna", since=newest["at"]) == [newest]
    problem(ops.get("/v1/audit?until=soon"), "invalid-request", 422)


def test_changes_on_the_command_line_and_in_python(queue: EditQueue, client: Any) -> None:
    """Each change of a key, limit, receiver, lane or job adds a line with its surface, `cli` or `python`."""
    created = typed("keys", "create", "--tenant", "acme", "--role", "viewer", "--name", "wall", "--json").json
    assert created["role"] == "viewer"
    typed("keys", "limits", "acme", "--budget", "5")
    typed("keys", "limits", "acme")
    typed("keys", "revoke", created["id"])
    typed("pause")
    job = queue.enqueue(EDIT, tenant="acme")
    typed("cancel", job.id)
    job.replay()
    job.cancel()
    typed("resume")
    receiver = typed("receivers", "add", "https://example.com/planted", "--json").json["id"]
    typed("receivers", "rotate", receiver)
    typed("receivers", "remove", receiver)
    typed("erase", "acme", "--yes")
    shown = typed("audit", "--json").json
    assert [(one["action"], one["by"]["surface"]) for one in reversed(shown)] == [
        ("key.create", "cli"),
        ("tenant.limits", "cli"),
        ("key.revoke", "cli"),
        ("lane.pause", "cli"),
        ("edit.cancel", "cli"),
        ("edit.replay", "python"),
        ("edit.cancel", "python"),
        ("lane.resume", "cli"),
        ("receiver.add", "cli"),
        ("receiver.rotate", "cli"),
        ("receiver.remove", "cli"),
        ("tenant.erase", "cli"),
    ]
    assert {one["action"]: one["tenant"] for one in shown if one["action"].startswith("edit.")} == {
        "edit.cancel": "acme",
        "edit.replay": "acme",
    }
    assert len(typed("audit", "--tenant", "acme", "--action", "edit", "--json").json) == 3
    assert shown[-2]["details"] == {"limits": {"budget": 5}}
    assert not [word for word in ("planted", "https://", created["secret"]) if word in json.dumps(shown)]
    assert "key.create" in typed("audit").out
    assert typed("audit", "--since", "1h", "--limit", "1", "--json").json == shown[:1]


def test_filters_on_the_command_line(queue: EditQueue, client: Any) -> None:
    """`retouch audit` has the filters of the route, and its times may be ages. A wrong time is a usage error."""
    log = AuditLog(client)
    log.record(Actor("http", "key_1", "anna", "ops"), "bulk.cancel", "acme")
    log.record(Actor("cli"), "bulk.replay", "acme")
    log.record(Actor("cli"), "lane.pause")
    assert shown_actions() == ["lane.pause", "bulk.replay", "bulk.cancel"]
    assert shown_actions("--action", "bulk") == ["bulk.replay", "bulk.cancel"]
    assert shown_actions("--action", "bulk", "--actor", "cli", "--tenant", "acme") == ["bulk.replay"]
    assert shown_actions("--actor", "anna") == shown_actions("--actor", "key_1") == ["bulk.cancel"]
    assert shown_actions("--tenant", "acme", "--limit", "1") == ["bulk.replay"]
    assert shown_actions("--until", "1h") == shown_actions("--since", "2999-01-01") == []
    assert len(shown_actions("--since", "1h", "--until", "2999-01-01")) == 3
    refused = typed("audit", "--until", "soon")
    assert (refused.code, "--until: expected an age" in refused.err) == (2, True)


def shown_actions(*options: str) -> list[str]:
    return [line["action"] for line in typed("audit", *options, "--json").json]


def test_a_line_says_nothing_else(client: Any) -> None:
    """
    An unknown detail raises ValueError. A line keeps 20 ids of a longer list, and the count of all ids. A producer
    above its limit gets one line `audit.capped` in place of all further lines.
    """
    log = AuditLog(client)
    with pytest.raises(ValueError, match="expected some of"):
        log.record(Actor("cli"), "receiver.add", url="https://example.com")
    log.record(Actor("cli"), "edit.cancel", ids=[f"ed_{number}" for number in range(50)], query="x" * 5_000)
    (line,) = log.lines()
    assert (len(line.details["ids"]), line.details["id_count"]) == (20, 50)  # type: ignore[arg-type]  # a list here
    busy = Actor("http", "key_1", "busy", "producer")
    log.record(busy, "edit.cancel", "acme")
    (counter,) = client.keys("rt:audit:count:*")
    client.set(counter, LINES_OF_PRODUCER_MOST - 1, keepttl=True)
    for _ in range(4):
        log.record(busy, "edit.cancel", "acme")
    log.record(Actor("http", "key_2", "calm", "ops"), "edit.cancel", "acme")
    actions = [one.action for one in log.lines()]
    assert actions == ["edit.cancel", "audit.capped", "edit.cancel", "edit.cancel", "edit.cancel"]
    assert client.ttl(counter) > 0
    assert client.xlen(keys.AUDIT) == 5
