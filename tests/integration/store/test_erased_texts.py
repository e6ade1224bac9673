"""After the erasure of a tenant, no text of its requests is left in Redis."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from retouch import Edit, EditQueue, JobOptions
from retouch.blobs import open_blobs
from retouch.outcomes import Fail, Ready, Succeed
from retouch.store.audit import Actor
from retouch.store.bulk import BulkRun, read_request
from retouch.store.bulk_service import BulkService
from retouch.store.erasure import erase_tenant
from retouch.store.keys import AUDIT
from retouch_worker.deliveries.schedule import DeliveryOutcome, settlement_of
from tests.lane_kit import IMAGE, LEASE_S, RETENTION_S, LaneKit
from tests.store_access import stored_contents

PICTURE = "https://pictures-planted.example/in.png"
WEBHOOK = "https://hooks-planted.example/hook"
OF_EVERY_JOB = "https://every-planted.example/hook"


@pytest.fixture
def bulk(client: Any) -> BulkService:
    return BulkService(client, retention_s=RETENTION_S, max_charges=2)


def enqueue(redis_url: str, tenant: str) -> list[str]:
    """Enqueue three jobs of a tenant, and return their ids. Each text of a request contains "planted"."""
    requests = [
        (
            Edit(prompt=f"planted prompt {number}", init_image=PICTURE),
            JobOptions(idempotency_key=f"planted-{number}", tags={"order": "planted-tag"}, events=["edit.running"]),
        )
        for number in range(3)
    ]
    with EditQueue(redis_url) as queue:
        return [job.id for job in queue.enqueue_many(requests, tenant=tenant, webhook=WEBHOOK)]


def end(kit: LaneKit, succeeding: str, failing: str) -> None:
    """Let one job succeed and one fail."""
    for job, (kind, answer), decision in (
        (succeeding, ("succeeded", Ready(("https://out-planted.example/a.png",))), Succeed(IMAGE)),
        (failing, ("refused", None), Fail("spam_filter", "planted words of the endpoint", retryable=True)),
    ):
        claim = kit.claim(job)
        assert kit.jobs.intend(claim) == "ok"
        kit.jobs.answer(claim, kind, answer)
        kit.jobs.settle(claim, decision)


def deliver(kit: LaneKit) -> None:
    """Send each delivery once, and let it fail. Then no delivery is under way, and each target is on record."""
    while under_way := kit.dispatched("deliveries"):
        for item in under_way:
            claim = kit.deliveries.claim(item, LEASE_S)
            assert claim is not None
            outcome = DeliveryOutcome(500, excerpt="planted answer of the receiver")
            kit.deliveries.settle(claim, settlement_of(outcome, claim.number, claim.by_hand, 0.0, 0.5))


def start_run(bulk: BulkService, query: str, tenant: str) -> BulkRun:
    request = read_request("replay", query, None, False, time.time(), lambda query: query)
    return bulk.start(request, Actor("http", "key_1"), tenant, "")


def test_no_text_of_a_request_is_left(client: Any, redis_url: str, kit: LaneKit, tmp_path: Path) -> None:
    """
    After the erasure, no key or value in Redis has a text of the tenant's requests. Only the audit keeps a tag, in the
    query of a bulk run.
    """
    kit.receivers.add("gone", OF_EVERY_JOB)
    jobs = enqueue(redis_url, "gone")
    end(kit, *jobs[:2])
    deliver(kit)
    assert "rt:deliveries:target:gone hooks-planted.example" in stored_contents(client)
    bulk = BulkService(client, retention_s=RETENTION_S, max_charges=2)
    start_run(bulk, "tag:order=planted-tag", "gone")
    kit.lanes.pause("deliveries")
    blobs = open_blobs(tmp_path.as_uri(), "http://127.0.0.1:8000")
    assert erase_tenant(client, kit.jobs, blobs, "gone").jobs == len(jobs)
    contents = stored_contents(client)
    audit = str(contents.pop(AUDIT))
    assert {name: content for name, content in contents.items() if "planted" in f"{name} {content}"} == {}
    assert audit.replace("tag:order=planted-tag", "").count("planted") == 0


def test_bulk_runs_go_with_their_tenant(client: Any, kit: LaneKit, bulk: BulkService, tmp_path: Path) -> None:
    """
    The erasure deletes the tenant's bulk runs, and other runs whose query names only this tenant. All other runs stay.
    """
    own, of_ops = start_run(bulk, "tag:n=1", "gone"), start_run(bulk, "tenant:gone tag:n=1", "staff")
    kept = [start_run(bulk, "tenant:gone,stays tag:n=1", "staff"), start_run(bulk, "tag:n=1", "stays")]
    assert bulk.store.take(LEASE_S) is not None
    erase_tenant(client, kit.jobs, open_blobs(tmp_path.as_uri(), "http://127.0.0.1:8000"), "gone")
    assert [bulk.store.find(run.id) for run in (own, of_ops)] == [None, None]
    assert {run.id for run in bulk.store.page("", 10)} == {run.id for run in kept}
    assert [run.id for run in bulk.store.page("staff", 10)] == [kept[0].id]
    left = str(stored_contents(client) | {AUDIT: ""})
    assert [run.id in left for run in (own, of_ops, *kept)] == [False, False, True, True]
    assert [bulk.store.abort(run.id, Actor("cli")) for run in kept] == ["aborted", "aborted"]
