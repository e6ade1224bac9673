"""
Tests of the erasure of a tenant: which data is deleted, and which data stays, such as data that another tenant shares.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from retouch import Edit, EditQueue, JobOptions
from retouch.blobs import BlobStore, open_blobs
from retouch.outcomes import Cancel, Image, Ready, Succeed
from retouch.store.blob_retention import keep_blob, owns_blob, release_blobs
from retouch.store.deliveries import DeliveryAttempt, Settlement
from retouch.store.erasure import Erased, erase_tenant
from retouch.store.jobs import JobStore
from retouch.store.keys import KEPT
from retouch.store.ledger import Ledger
from retouch_worker.retention import Retention
from tests.lane_kit import LaneKit

PICTURE = "https://example.com/in.png"


@pytest.fixture
def kit(client: Any) -> LaneKit:
    return LaneKit(client)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blobs(tmp_path.as_uri(), "http://127.0.0.1:8000")


def put(blobs: BlobStore, data: bytes, folder: Path) -> str:
    """Store bytes, set the age of the file to two hours, and return the name of the blob."""
    name = blobs.put(data, "png")
    os.utime(folder / name, (time.time() - 7_200,) * 2)
    return name


def image(name: str) -> Image:
    return Image(name, name[3:67], "PNG", 1, 1, 1)


def end(kit: LaneKit, tenant: str, name: str, **spec: Any) -> None:
    """Enqueue a job, and let it succeed with an image that has this name."""
    job = kit.new(tenant, **spec)
    kit.enqueue(job)
    kit.finish(job.id, Succeed(image(name)))


def succeed(jobs: JobStore, job: str, name: str) -> None:
    claim = jobs.claim(job, 15.0)
    assert claim is not None
    jobs.intend(claim)
    jobs.answer(claim, "succeeded", Ready(("https://out.example/a.png",)))
    jobs.settle(claim, Succeed(Image(name, "ab", "PNG", 1, 1, 1)))


def test_a_tenant_is_erased_and_its_ledger_stays(client: Any, redis_url: str, tmp_path: Path) -> None:
    """
    Jobs, images, receivers, deliveries and keys of a tenant are deleted, and its ledger stays. An image that another
    tenant also owns stays.
    """
    jobs, blobs = JobStore(client, retention_s=60.0), open_blobs(tmp_path.as_uri(), "http://127.0.0.1:8000")
    own, shared = put(blobs, b"own", tmp_path), put(blobs, b"shared", tmp_path)
    edit = Edit(prompt="a planted prompt", init_image=PICTURE)
    with EditQueue(redis_url) as queue:
        options = JobOptions(tenant="gone", webhook="https://hooks.example/planted", idempotency_key="key-1")
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
    assert client.zcard("rt:receivers") == 0


def test_a_job_in_flight_goes_with_the_second_run(client: Any, redis_url: str, tmp_path: Path) -> None:
    """
    The first erasure cancels a job in flight, and the job ends when its worker settles it. The second erasure deletes
    the job.
    """
    jobs, blobs = JobStore(client, retention_s=60.0), open_blobs(tmp_path.as_uri(), "http://127.0.0.1:8000")
    with EditQueue(redis_url) as queue:
        job = queue.enqueue(Edit(prompt="winter", init_image=PICTURE), tenant="gone").id
    claim = jobs.claim(job, 15.0)
    assert claim is not None
    assert erase_tenant(client, jobs, blobs, "gone").in_flight == 1
    jobs.settle(claim, Succeed(Image(f"ab/ab{'0' * 62}.png", "ab", "PNG", 1, 1, 1)))
    assert erase_tenant(client, jobs, blobs, "gone").in_flight == 0
    assert jobs.record(job) is None


def test_an_image_that_another_job_just_stored_stays(kit: LaneKit, blobs: BlobStore) -> None:
    """When a running job of another tenant has just stored the same bytes, the image stays for that job."""
    done, running = kit.new("gone"), kit.new("stays")
    kit.enqueue(done, running)
    name = blobs.put(b"the same bytes", "png")
    kit.finish(done.id, Succeed(image(name)))
    claim = kit.claim(running.id)
    assert erase_tenant(kit.client, kit.jobs, blobs, "gone") == Erased(1, 0, 0, images_due=1)
    kit.jobs.settle(claim, Succeed(image(name)))
    Retention(kit.client, blobs, 60.0).sweep()
    assert (kit.state(running.id), blobs.exists(name)) == ("succeeded", True)


def test_what_was_just_put_goes_within_the_hour(kit: LaneKit, blobs: BlobStore, tmp_path: Path) -> None:
    """An image that is less than an hour old is deleted within an hour, even if the job was to be kept longer."""
    name = blobs.put(b"young", "png")
    end(kit, "gone", name)
    keep_blob(kit.client, name, 30 * 86_400.0)
    assert erase_tenant(kit.client, kit.jobs, blobs, "gone").images_due == 1
    assert kit.client.zscore(KEPT, name) - kit.client.time()[0] < 3_602
    kit.client.zadd(KEPT, {name: 1.0})
    put(blobs, b"young", tmp_path)
    Retention(kit.client, blobs, 60.0).sweep()
    assert not blobs.exists(name)


def test_kept_pictures_are_images_of_their_tenant(kit: LaneKit, blobs: BlobStore, tmp_path: Path) -> None:
    """Our copy of an input is deleted with its tenant, unless a job of another tenant has the same picture."""
    own, shared, out = (put(blobs, text, tmp_path) for text in (b"own", b"shared", b"out"))
    end(kit, "gone", out, input=own)
    end(kit, "gone", out, input=shared)
    kit.enqueue(kit.new("stays", input=shared))
    keep_blob(kit.client, own, 90_000.0, "gone")
    for tenant in ("gone", "stays"):
        keep_blob(kit.client, shared, 90_000.0, tenant)
    assert erase_tenant(kit.client, kit.jobs, blobs, "gone") == Erased(2, 2, 0)
    assert [blobs.exists(name) for name in (own, shared, out)] == [False, True, False]
    assert kit.client.zrange(KEPT, 0, -1) == [shared]
    assert kit.client.zscore(KEPT, shared) - kit.client.time()[0] > 80_000


def test_uploads_go_with_their_tenant(kit: LaneKit, blobs: BlobStore, tmp_path: Path) -> None:
    """An upload that no job uses is deleted with its tenant. An upload with the same bytes by another tenant stays."""
    own, shared = (put(blobs, text, tmp_path) for text in (b"own", b"shared"))
    keep_blob(kit.client, own, 90_000.0, "gone")
    for tenant in ("gone", "stays"):
        keep_blob(kit.client, shared, 90_000.0, tenant)
    assert erase_tenant(kit.client, kit.jobs, blobs, "gone") == Erased(0, 1, 0)
    assert [blobs.exists(name) for name in (own, shared)] == [False, True]
    assert [owns_blob(kit.client, tenant, shared) for tenant in ("gone", "stays")] == [False, True]


def test_what_a_job_in_flight_works_with_stays(kit: LaneKit, blobs: BlobStore, tmp_path: Path) -> None:
    """The input of a job in flight stays. The second erasure deletes this input together with the job."""
    name = put(blobs, b"input", tmp_path)
    keep_blob(kit.client, name, 90_000.0, "gone")
    job = kit.new("gone", input=name)
    kit.enqueue(job)
    claim = kit.claim(job.id)
    assert erase_tenant(kit.client, kit.jobs, blobs, "gone") == Erased(0, 0, 1)
    assert blobs.exists(name)
    kit.jobs.settle(claim, Cancel())
    assert erase_tenant(kit.client, kit.jobs, blobs, "gone") == Erased(1, 1, 0)
    assert not blobs.exists(name)


def test_a_job_that_ends_during_the_erasure_keeps_its_image(
    kit: LaneKit, blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a job of another tenant ends with the same image during the erasure, the image stays."""
    name = put(blobs, b"the same bytes", tmp_path)
    end(kit, "gone", name)
    keep_blob(kit.client, name, 90_000.0)

    def release_late(*args: Any) -> Any:
        end(kit, "stays", name)
        return release_blobs(*args)

    monkeypatch.setattr("retouch.store.erasure.release_blobs", release_late)
    assert erase_tenant(kit.client, kit.jobs, blobs, "gone") == Erased(1, 0, 0)
    assert blobs.exists(name)
    assert kit.client.zscore(KEPT, name) - kit.client.time()[0] > 80_000


def test_deliveries_go_whose_jobs_went_before(kit: LaneKit, blobs: BlobStore) -> None:
    """Deliveries of a tenant are deleted even if their jobs have expired. Deliveries of another tenant stay."""
    left = []
    for tenant in ("gone", "stays"):
        kit.receivers.add(tenant, "https://hooks.example/every-job")
        end(kit, tenant, f"ab/ab{'0' * 62}.png")
        (job,) = kit.jobs.ids(tenant)
        (delivery,) = kit.deliveries.of_job(job)
        claim = kit.deliveries.claim(delivery.id, 15.0)
        assert claim is not None
        kit.deliveries.settle(claim, Settlement("delivered", 0.0, DeliveryAttempt(at=1.7e9, attempt=1, status=200)))
        left.append(delivery.id)
        kit.client.delete(f"rt:edits:spec:{job}", f"rt:edits:state:{job}", f"rt:timeline:{job}")
    assert erase_tenant(kit.client, kit.jobs, blobs, "gone") == Erased(0, 0, 0)
    assert [record.id for record in kit.deliveries.records(left)] == left[1:]
    assert list(kit.deliveries.ids()) == left[1:]
