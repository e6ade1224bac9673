"""What the list of jobs says beside its rows, and which worker has which job."""

from __future__ import annotations

import html
import re
from typing import get_args

import pytest

from retouch.outcomes import Fail
from retouch.store.accounts import AccountStore
from retouch.store.queue_position import Binding
from retouch.store.worker_presence import announcement
from retouch_producer.findings import job_wait
from tests.command_line import typed
from tests.gateway_process import Callers
from tests.integration.conftest import ParsedEdit
from tests.integration.console.conftest import People, words_of
from tests.integration.console.test_pages import failed_job
from tests.lane_kit import LEASE_S, LaneKit, account
from tests.process_watch import eventually


def test_the_list_counts_and_suggests(people: People, callers: Callers, edit_body: ParsedEdit, kit: LaneKit) -> None:
    """
    Beside each state stands the number of its jobs that the visitor may see, unless the list is narrowed otherwise. The
    suggestions are terms that find the jobs of the page; markup in a tag stays text.
    """
    failed_job(callers, kit, edit_body)
    failed_job(callers, kit, edit_body, "globex")
    kit.lanes.pause()
    callers("acme").post("/v1/edits", edit_body(tags={"order": '17 "b"', "x": "<b>"}))
    acme, ops = people("acme"), people("staff", "ops")
    for person, address, failed in ((acme, "", 1), (ops, "", 2), (ops, "?tenant=globex", 1)):
        words = words_of(person.text(f"/console/jobs{address}"))
        assert f"failed {failed} cancelled" in words, address
    assert "queued 1 running" in words_of(acme.text("/console/jobs"))
    assert "failed cancelled" in words_of(acme.text("/console/jobs?q=since:1d"))
    page = acme.text("/console/jobs")
    terms = [html.unescape(term) for term in re.findall(r'<option value="([^"]+)"></option>', page)]
    assert {"state:failed", "code:invalid_request", 'tag:"order=17 \\"b\\""', "tag:x=<b>", "since:1h"} <= set(terms)
    assert not [term for term in terms if term.startswith("tenant:")]
    assert "tenant:globex" in ops.text("/console/jobs")
    for term in terms:
        assert acme.get("/console/jobs", params={"q": term}).status_code == 200, term
    assert "<b>" not in page


def test_what_each_worker_does(people: People, kit: LaneKit) -> None:
    """
    The page of workers has the edits in flight of each process. The page of a job names the process that claimed it.
    """
    job = kit.new()
    kit.enqueue(job)
    kit.lanes.heartbeat(60.0, [], announcement("host:7", ["edits", "deliveries"], "2.1.0"), 4, (), "host:7")
    claim = kit.jobs.claim(job.id, LEASE_S, (), "host:7")
    assert claim is not None
    assert "host:7 edits, deliveries 2.1.0 1 4" in words_of(people("acme").text("/console/workers"))
    assert "host:7 edits, deliveries 2.1.0 0 4" in words_of(people("globex").text("/console/workers"))
    assert "worker host:7" in words_of(people("acme").text(f"/console/jobs/{job.id}"))
    kit.jobs.settle(claim, Fail("spam_filter", "no", retryable=False))


def test_workers_of_two_versions(people: People, kit: LaneKit) -> None:
    """If workers have different versions, the page of workers says so to all, and the overview to role ops."""
    kit.lanes.heartbeat(60.0, [], announcement("host:1", ["edits"], "2.1.0"), 0)
    ops = people("staff", "ops")
    assert "ifferent versions" not in ops.text("/console/workers")
    kit.lanes.heartbeat(60.0, [], "host:2", 4)
    words = "Different versions run: 2.1.0 (host:1); unknown (host:2)."
    for page in (ops.text("/console/workers"), people("acme").text("/console/workers")):
        assert words in words_of(page)
    assert eventually(lambda: words in words_of(ops.text("/console")))  # what it shows is kept for a second
    assert "host:2 lanes unknown unknown 0 4" in words_of(ops.text("/console/workers"))
    assert "ifferent versions" not in people("globex").text("/console")


def test_every_limit_has_its_words() -> None:
    """The page of a job that waits has words for each limit that may make it wait."""
    assert sorted(job_wait._BINDING) == sorted(get_args(Binding))


def test_a_job_waits_for_an_account(
    people: People, callers: Callers, kit: LaneKit, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While no account takes jobs, a waiting job says so: its page, its timeline over HTTP, and `retouch job`."""
    kit.open_accounts(account("a"))
    AccountStore(kit.client).pause("a")
    job = kit.new()
    kit.enqueue(job)
    reason = "No account of the endpoint takes it"
    assert reason in words_of(people("acme").text(f"/console/jobs/{job.id}"))
    wait = callers("acme").get(f"/v1/edits/{job.id}/timeline").json()["wait"]
    assert wait["reason"].startswith(reason)
    assert (wait["binding"], wait["position"], wait["estimated_start_at"]) == ("account", 1, None)
    monkeypatch.setenv("RETOUCH_REDIS_URL", redis_url)
    over_redis = typed("job", job.id)
    assert f"\nwaits     {reason}" in over_redis.out
    assert "It is number 1 in line.\n" in over_redis.out
    assert typed("job", job.id, "--json").json["wait"] == wait
    monkeypatch.setenv("RETOUCH_GATEWAY_URL", callers.url)
    monkeypatch.setenv("RETOUCH_API_KEY", callers("acme").secret)
    assert typed("job", job.id, "--json").json["wait"] == wait
    kit.jobs.cancel(job.id)
