"""
Tests of the pages of accounts over real HTTP: their content, the roles that see them, and the actions of role ops.
"""

from __future__ import annotations

import time
from typing import Any

from retouch.outcomes import Fail
from retouch.store import keys
from retouch.store.audit import AuditLog
from retouch_producer.gateway.console.routing import POLICY
from tests.integration.console.conftest import People, words_of
from tests.lane_kit import LaneKit
from tests.process_watch import eventually
from tests.store_accounts import account, close, open_accounts


def open_three(client: Any) -> None:
    """
    Open three accounts: `main` has a set limit and a price, `spare` learns its limit, and `mine` is for tenant `owner`.
    """
    open_accounts(
        client,
        account("main", limit=2, price_per_call=0.25, rate_per_s=2.0),
        account("spare", limit="auto", calls_per_day=100, weight=0.5, tier=2),
        account("mine", tenants=("owner",), shared_fallback="free_only"),
    )


def test_several_accounts_are_listed(people: People, client: Any, kit: LaneKit) -> None:
    """Each account has a row with state, slots, limit, tier, weight, calls of the day and cost."""
    open_three(client)
    day = int(time.time() // 86_400)
    client.hset(keys.account_calls(day), mapping={"main": 7, "spare": 12})
    client.expire(keys.account_calls(day), 60)
    client.hset(keys.account_ledger("main"), mapping={f"{day} useful": 4, f"{day} wasted": 2})
    close(client, "spare", "no_credit")
    kit.enqueue(kit.new("acme"))
    words = words_of(people("staff", "viewer").text("/console/accounts"))
    assert "main open 1 of 2 set 1 1 7 1.50" in words
    assert "spare closed no_credit 0 of 5 learnt 2 0.5 12 of 100 0.00" in words
    assert "mine only owner open" in words
    assert "2 / 3" in words


def test_one_account_is_shown_with_its_slots(people: People, client: Any, kit: LaneKit) -> None:
    """
    The page of an account shows its jobs in slots, its gates and its charges of today. It shows no job of another
    account.
    """
    open_three(client)
    day = int(time.time() // 86_400)
    client.hset(keys.account_ledger("main"), mapping={f"{day} useful": 4, f"{day} unknown": 1})
    kit.enqueue(kit.new("acme"), kit.new("owner"))
    jobs = {record.account: record.id for record in kit.jobs.records(kit.dispatched())}
    page = people("staff", "viewer").text("/console/accounts/main")
    assert f"/console/jobs/{jobs['main']}" in page
    assert f"/console/jobs/{jobs['mine']}" not in page
    assert "1.25 at most · 5 calls at 0.25" in words_of(page)
    assert "rate 2 a second at most" in words_of(page)
    own = words_of(people("staff", "ops").text("/console/accounts/mine"))
    assert "shared accounts if nothing was billed yet" in own


def test_the_only_account_is_that_of_the_settings(people: People, client: Any, kit: LaneKit) -> None:
    """Without an accounts file, the only account comes from the settings. Its page offers to pause the whole lane."""
    kit.enqueue(kit.new("acme"))
    ops = people("staff", "ops")
    assert "There is one account, made of the settings." in words_of(ops.text("/console/accounts"))
    page = ops.text("/console/accounts/default")
    assert 'action="/console/lanes/edits/pause"' in page
    assert "/console/accounts/default/pause" not in page
    assert "1 of 5 taken" in words_of(page)
    assert ops.post("/console/accounts/default/pause").status_code == 404
    ops.post("/console/lanes/edits/pause")
    assert "The lane is paused: jobs wait" in words_of(ops.text("/console/accounts/default"))


def test_ops_pauses_drains_and_resumes(people: People, client: Any) -> None:
    """
    Role ops pauses, drains and resumes an account. The page confirms each action, and the audit log has a line for it.
    """
    open_three(client)
    ops = people("staff", "ops")
    assert "polls neither" in words_of(ops.text("/console/accounts/main"))
    assert "Paused. Calls under way end" in words_of(ops.post("/console/accounts/main/pause").text)
    assert client.hget(keys.account_gate("main"), "mode") == "paused"
    assert "Draining." in words_of(ops.post("/console/accounts/main/drain").text)
    assert "Resumed." in words_of(ops.post("/console/accounts/main/resume").text)
    assert client.hget(keys.account_gate("main"), "mode") is None
    lines = [line for line in reversed(AuditLog(client).lines()) if line.action.startswith("account.")]
    assert [line.action for line in lines] == ["account.pause", "account.drain", "account.resume"]
    assert {(line.actor.surface, line.actor.role) for line in lines} == {("console", "ops")}
    assert {str(line.details["ids"]) for line in lines} == {"['main']"}


def test_ops_tests_a_closed_account(people: People, client: Any) -> None:
    """The page of a closed account shows the reason and offers a test. The page of an open account offers no test."""
    open_three(client)
    ops = people("staff", "ops")
    assert "/console/accounts/main/test" not in ops.text("/console/accounts/main")
    assert "nothing was tested" in words_of(ops.post("/console/accounts/main/test").text)
    close(client, "main")
    words = words_of(ops.text("/console/accounts/main"))
    assert "closed bad_key, since" in words
    assert "that call may be paid" in words
    assert "No job waits." in words_of(ops.post("/console/accounts/main/test").text)
    assert client.hget(keys.account_gate("main"), "open_until") == "0"


def test_a_viewer_changes_nothing_and_a_producer_sees_nothing(people: People, client: Any) -> None:
    """
    A viewer sees the page without a form, and every action is answered 403. A producer gets neither the page nor a link
    to it.
    """
    open_three(client)
    viewer, producer = people("staff", "viewer"), people("acme")
    page = viewer.get("/console/accounts/main")
    assert '<form method="post" action="/console/accounts' not in page.text
    assert page.headers["content-security-policy"] == POLICY
    for name in ("pause", "drain", "resume", "test"):
        assert viewer.post(f"/console/accounts/main/{name}").status_code == 403
    assert client.hget(keys.account_gate("main"), "mode") is None
    for address in ("/console/accounts", "/console/accounts/main"):
        assert producer.get(address).status_code == 403
    assert 'href="/console/accounts"' not in producer.text("/console")
    assert 'href="/console/accounts"' in viewer.text("/console")
    assert viewer.get("/console/accounts/moon").status_code == 404


def test_a_learnt_limit_is_drawn(people: People, client: Any) -> None:
    """If an account learns its limit, its page shows the changes of the limit as a line and in words."""
    open_three(client)
    for age, limit in ((300, 6), (200, 3), (100, 4)):
        client.lpush(keys.limit_steps("spare"), f"{time.time() - age} {limit}")
    client.expire(keys.limit_steps("spare"), 60)
    client.hset(keys.account_gate("spare"), mapping={"limit": 4, "learnt": 4})
    ops = people("staff", "ops")
    page = ops.text("/console/accounts/spare")
    assert '<polyline points="0.0,' in page
    assert "3 changes since" in words_of(page)
    assert "Between 3 and 6, now 4." in words_of(page)
    assert "<polyline" not in ops.text("/console/accounts/main")


def test_amounts_are_at_the_prices_of_accounts(people: People, client: Any, kit: LaneKit) -> None:
    """
    Without `RETOUCH_PRICE_PER_CALL`, the overview, the pages of tenants and of a job have the cost of the account that
    was called. What a replay costs at most is at the price of the dearest account.
    """
    open_three(client)
    job = kit.new("acme", tags={"team": "x"})
    kit.enqueue(job)
    claim = kit.claim(job.id)
    assert (kit.jobs.intend(claim), claim.account) == ("ok", "main")
    kit.jobs.answer(claim, "unknown", None)
    kit.jobs.settle(claim, Fail("outcome_unknown", "no answer came", retryable=True))
    staff = people("staff", "viewer")
    assert eventually(lambda: "0.25 at most" in words_of(staff.text("/console")))  # its numbers are kept for a second
    for path in ("/tenants", "/tenants/acme", f"/jobs/{job.id}"):
        assert "0.25 at most" in words_of(staff.text(f"/console{path}")), path
    assert "team=x" in staff.text("/console/tenants/acme")
    assert "costs at most 2 calls · 0.50" in words_of(people("ops", "ops").text(f"/console/jobs/{job.id}"))
