"""Erasing a tenant: what goes, what stays, and what others share with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retouch import Edit, EditQueue
from retouch.blobs import open_blobs
from retouch.outcomes import Image, Ready, Succeed
from retouch.store.erasure import erase_tenant
from retouch.store.jobs import JobStore
from retouch.store.ledger import Ledger

PICTURE = "https://example.com/in.png"


def succeed(jobs: JobStore, job: str, name: str) -> None:
    claim = jobs.claim(job, 15.0)
    assert claim is not None
    jobs.intend(claim)
    jobs.answer(claim, "succeeded", Ready(("https://out.example/a.png",)))
    jobs.settle(claim, Succeed(Image(name, "ab", "PNG", 1, 1, 1)))


def test_a_tenant_is_erased_and_its_ledger_stays(client: Any, redis_url: str, tmp_path: Path) -> None:
    """Jobs, images, receivers, deliveries and keys of a tenant go; an image that another tenant shares stays."""
    jobs, blobs = JobStore(client, retention_s=60.0), open_blobs(tmp_path.as_uri(), "http://127.0.0.1:8000")
    own, shared = blobs.put(b"own", "png"), blobs.put(b"shared", "png")
    edit = Edit(prompt="a planted prompt", init_image=PICTURE)
    with EditQueue(redis_url) as queue:
        options = {"tenant": "gone", "webhook": "https://hooks.example/planted", "idempotency_key": "key-1"}
        queue.pause("deliveries")
        done = [queue.enqueue(edit, **options).id, queue.enqueue(edit, tenant="gone").id]
        other = queue.enqueue(edit, tenant="stays").id
        for job, name in zip([*done, other], (own, shared, shared), strict=True):
            succeed(jobs, job, name)
        queue.pause()
        waiting = queue.enqueue(edit, tenant="gone", tags={"order": "planted-17"}).id
    erased = erase_tenant(client, jobs, blobs, "gone")
    assert (erased.jobs, erased.images, erased.in_flight) == (3, 1, 0)
    assert [blobs.exists(name) for name in (own, shared)] == [False, True]
    assert jobs.records([*done, waiting]) == []
    assert jobs.record(other) is not None
    assert Ledger(client).usage(tenant="gone")[0].useful == 2
    left = [name for name in client.scan_iter("rt:*") if "gone" in name and not name.startswith("rt:ledger:")]
    assert [name for name in left if not name.startswith("rt:budget:")] == []
    assert client.smembers("rt:receivers") == set()


def test_a_job_in_flight_goes_with_the_second_run(client: Any, redis_url: str, tmp_path: Path) -> None:
    """A call that is under way is cancelled and ends first; running the erasure again clears it away."""
    jobs, blobs = JobStore(client, retention_s=60.0), open_blobs(tmp_path.as_uri(), "http://127.0.0.1:8000")
    with EditQueue(redis_url) as queue:
        job = queue.enqueue(Edit(prompt="winter", init_image=PICTURE), tenant="gone").id
    claim = jobs.claim(job, 15.0)
    assert claim is not None
    assert erase_tenant(client, jobs, blobs, "gone").in_flight == 1
    jobs.settle(claim, Succeed(Image(f"ab/ab{'0' * 62}.png", "ab", "PNG", 1, 1, 1)))
    assert erase_tenant(client, jobs, blobs, "gone").in_flight == 0
    assert jobs.record(job) is None
