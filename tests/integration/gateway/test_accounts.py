"""Tests of `/v1/accounts` over HTTP, and of the account in jobs, dry runs, usage and metrics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from retouch.outcomes import Fail
from retouch.store import keys
from tests.gateway_process import Api, Callers, problem
from tests.lane_kit import LaneKit
from tests.store_accounts import account, close, open_accounts


@pytest.fixture(autouse=True)
def accounts(client: Any) -> Iterator[None]:
    """
    Open three accounts: `main` is cheap and shared, `spare` has a higher price and tier, `mine` is for tenant `owner`.
    """
    open_accounts(
        client,
        account("main", limit=1, price_per_call=0.01),
        account("spare", limit=1, price_per_call=0.04, tier=2),
        account("mine", tenants=("owner",)),
    )
    yield
    client.flushdb()


@pytest.fixture
def ops(callers: Callers) -> Api:
    return callers("staff", "ops")


def test_accounts_are_listed_in_order(ops: Api) -> None:
    """The list has every account in the order of the file. Reading one account returns the same members."""
    listed = ops.get("/v1/accounts").json()["data"]
    assert [one["id"] for one in listed] == ["main", "spare", "mine"]
    assert listed[1] == ops.get("/v1/accounts/spare").json()
    assert (listed[2]["tenants"], listed[2]["shared_fallback"]) == (["owner"], "never")
    assert {one["workers"] for one in listed} == {1}


def test_a_switch_answers_with_the_account(ops: Api) -> None:
    """The routes for pause, drain and resume return the account in its new state."""
    assert ops.post("/v1/accounts/main/pause").json()["mode"] == "paused"
    assert ops.post("/v1/accounts/main/drain").json()["binding"] == "draining"
    assert ops.post("/v1/accounts/main/resume").json()["mode"] is None


def test_a_test_says_whether_a_job_waits_for_it(ops: Api, client: Any, kit: LaneKit) -> None:
    """
    The outcome of a test is `not_closed` for an open account. For a closed account, the outcome is `testing` if a job
    waits, else `no_job_waiting`.
    """
    assert ops.post("/v1/accounts/main/test").json()["outcome"] == "not_closed"
    close(client, "main")
    assert ops.post("/v1/accounts/main/test").json()["outcome"] == "no_job_waiting"
    kit.lanes.pause()
    kit.enqueue(kit.new())
    answer = ops.post("/v1/accounts/main/test").json()
    assert (answer["outcome"], answer["account"]["closed"], answer["account"]["tested"]) == ("testing", "bad_key", True)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/main"), *(("POST", f"/main/{name}") for name in ("test", "pause", "drain", "resume"))],
)
def test_a_producer_sees_no_account(callers: Callers, ops: Api, method: str, path: str) -> None:
    """
    With a key of role producer, every route of accounts is refused with 403. With role ops, an unknown account is
    answered 404.
    """
    problem(callers().ask(method, f"/v1/accounts{path}"), "forbidden", 403)
    assert ops.get("/v1/accounts/main").json()["mode"] is None
    if path:
        problem(ops.ask(method, f"/v1/accounts{path.replace('main', 'moon')}"), "not-found", 404)


def test_a_viewer_reads_and_changes_nothing(callers: Callers) -> None:
    """A key of role viewer reads the accounts. Every change of an account, and a test, is refused with 403."""
    viewer = callers("watchers", "viewer")
    assert [one["id"] for one in viewer.get("/v1/accounts").json()["data"]] == ["main", "spare", "mine"]
    for name in ("test", "pause", "drain", "resume"):
        problem(viewer.post(f"/v1/accounts/main/{name}"), "forbidden", 403)
    assert viewer.get("/v1/accounts/main").json()["mode"] is None


def test_every_change_is_in_the_audit(ops: Api) -> None:
    """Each change over HTTP adds a line to the audit log, with the surface `http` and the id of the account."""
    for name in ("pause", "drain", "resume", "test"):
        ops.post(f"/v1/accounts/spare/{name}")
    lines = ops.get("/v1/audit?limit=4").json()["data"]
    assert [line["action"] for line in reversed(lines)] == [
        "account.pause",
        "account.drain",
        "account.resume",
        "account.test",
    ]
    assert {line["by"]["surface"] for line in lines} == {"http"}
    assert {tuple(line["details"]["ids"]) for line in lines} == {("spare",)}


def test_a_job_names_its_account_and_why(callers: Callers, kit: LaneKit) -> None:
    """A dispatched job has its account and the reason for this account. Each of its charges has the account too."""
    kit.enqueue(kit.new("owner"), kit.new("acme"))
    jobs = {record["tenant"]: record for record in callers("staff", "ops").get("/v1/edits").json()["data"]}
    assert (jobs["owner"]["account"], jobs["owner"]["account_reason"]) == ("mine", "own")
    assert (jobs["acme"]["account"], jobs["acme"]["account_reason"]) == ("main", "tier 1")
    kit.jobs.intend(kit.claim(jobs["acme"]["id"]))
    [charge] = callers("acme").get(f"/v1/edits/{jobs['acme']['id']}").json()["charge_log"]
    assert charge["account"] == "main"


def test_a_dry_run_names_the_account(
    callers: Callers, client: Any, kit: LaneKit, edit_body: Callable[..., dict[str, Any]]
) -> None:
    """
    A dry run returns the price and the account that would take the job. For each account of the tenant, the dry run
    returns the reason for a wait.
    """

    def dry_run(tenant: str = "acme") -> dict[str, Any]:
        answer: dict[str, Any] = callers(tenant).post("/v1/edits?dry_run=1", edit_body(max_charges=2)).json()
        return answer

    first = dry_run()
    assert (first["account"], first["binding"], first["cost"], first["cost_at_most"]) == ("main", "none", 0.01, 0.08)
    assert first["accounts"] == {"main": "none", "spare": "none"}
    assert dry_run("owner")["accounts"] == {"mine": "none"}
    kit.enqueue(kit.new("acme"))
    second = dry_run()
    assert (second["account"], second["cost"], second["accounts"]["main"]) == ("spare", 0.04, "in_flight")
    kit.enqueue(kit.new("acme"))
    full = dry_run()
    assert (full["account"], full["binding"]) == (None, "in_flight")
    assert full["estimated_start_at"]
    for identity in ("main", "spare"):
        close(client, identity)
    shut = dry_run()
    assert (shut["binding"], shut["estimated_start_at"]) == ("account", None)
    assert shut["accounts"] == {"main": "closed", "spare": "closed"}


def test_a_wait_is_estimated_over_all_accounts(
    callers: Callers, client: Any, kit: LaneKit, edit_body: Callable[..., dict[str, Any]]
) -> None:
    """The estimate counts the slots of every account that takes jobs, so a closed account makes the wait longer."""
    kit.enqueue(*(kit.new("acme") for _ in range(12)))

    def end_of_wait() -> str:
        answer = callers("acme").post("/v1/edits?dry_run=1", edit_body()).json()
        return str(answer["estimated_start_at"])

    with_both = end_of_wait()
    close(client, "spare")
    assert end_of_wait() > with_both


def test_usage_by_account(callers: Callers, ops: Api, kit: LaneKit) -> None:
    """
    Usage by account has the calls of each account and their amount at the account's price. A tenant without calls gets
    no row.
    """
    kit.enqueue(kit.new("acme"))
    [job] = [record["id"] for record in ops.get("/v1/edits").json()["data"]]
    claim = kit.claim(job)
    kit.jobs.intend(claim)
    kit.jobs.answer(claim, "unknown", None)
    kit.jobs.settle(claim, Fail("outcome_unknown", "no answer came", retryable=True))
    [row] = ops.get("/v1/usage?by=account").json()["data"]
    assert (row["key"], row["unknown"], row["amount"]) == ("main", 1, 0.01)
    [row] = ops.get("/v1/usage?by=day-account").json()["data"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d main", row["key"])
    assert (row["unknown"], row["amount"]) == (1, 0.01)
    assert callers("globex").get("/v1/usage?by=account").json()["data"] == []
    [row] = ops.get("/v1/usage").json()["data"]
    assert (row["key"], row["unknown"], row["amount"]) == ("acme", 1, 0.01)
    assert ops.get(f"/v1/edits/{job}").json()["charges"] == {"certain": 0, "possible": 1, "amount": 0.01}
    preview = ops.post("/v1/bulk", {"action": "replay", "query": "state:failed", "dry_run": True}).json()["preview"]
    assert (preview["calls_most"], preview["amount_most"]) == (2, 0.08)


def test_metrics_by_account(gateway_url: str, ops: Api, client: Any, kit: LaneKit) -> None:
    """
    Each account has gauges of slots, workers, open breaker and closure. Without an accounts file, only account
    `default` has gauges.
    """
    close(client, "spare")
    client.hset(keys.account_gate("mine"), "open_until", 1e15)
    kit.enqueue(kit.new("acme"))
    headers = {"Authorization": f"Bearer {ops.secret}"}
    lines = requests.get(f"{gateway_url}/metrics/store", headers=headers, timeout=20).text.splitlines()
    for name, one, value in [
        ("slots_held", "main", "1.0"),
        ("slots_limit", "mine", "2.0"),
        ("workers", "main", "1.0"),
        ("breaker_open", "mine", "1.0"),
        ("breaker_open", "main", "0.0"),
        ("closed", "spare", "1.0"),
        ("closed", "main", "0.0"),
    ]:
        assert f'retouch_account_{name}{{account="{one}"}} {value}' in lines
    client.hdel("rt:edits:gate", "accounts")
    text = requests.get(f"{gateway_url}/metrics/store", headers=headers, timeout=20).text
    assert set(re.findall(r'retouch_account_slots_held{account="(\w+)"}', text)) == {"default"}
