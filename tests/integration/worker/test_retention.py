"""Tests of how long images and records are kept, of what is deleted then, and of intents on the disk of Redis."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from retouch import Edit, EditQueue, Settings
from retouch.blobs import BlobError, BlobStore, open_blobs, thumbnail_name
from retouch.outcomes import GateClosed, Image, Ready, Succeed
from retouch.policy import RetryPolicy, decide
from retouch.store.blob_retention import drop_blob, keep_blob, owns_blob, take_due_blobs
from retouch.store.jobs import JobStore
from retouch.store.keys import KEPT
from retouch.store.redis_client import connect
from retouch_worker.retention import Retention
from tests.free_ports import own_valkey

PICTURE = "https://example.com/in.png"


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return open_blobs(tmp_path.as_uri(), "http://127.0.0.1:8000")


@pytest.fixture
def retention(client: Any, blobs: BlobStore) -> Retention:
    return Retention(client, blobs, 60.0)


def aged(folder: Path, name: str) -> str:
    """Set the time of a blob's file to two hours ago; return the name."""
    before = time.time() - 7200
    os.utime(folder / name, (before, before))
    return name


def test_a_kept_image_is_on_record_until_its_job_goes(client: Any, redis_url: str) -> None:
    """When a job succeeds, the job's image is kept for as long as the job's record."""
    jobs = JobStore(client, retention_s=500.0)
    with EditQueue(redis_url) as queue:
        job = queue.enqueue(Edit(prompt="winter", init_image=PICTURE)).id
    claim = jobs.claim(job, 15.0)
    assert claim is not None
    jobs.intend(claim)
    jobs.answer(claim, "succeeded", Ready(("https://out.example/a.png",)))
    name = f"ab/ab{'0' * 62}.png"
    jobs.settle(claim, Succeed(Image(name, "ab", "PNG", 1, 1, 1)))
    left_s = client.zscore(KEPT, name) - client.time()[0]
    assert abs(left_s - client.ttl(f"rt:edits:spec:{job}")) < 3


def test_an_image_is_deleted_when_its_time_is_over(
    client: Any, retention: Retention, blobs: BlobStore, tmp_path: Path
) -> None:
    """A sweep deletes an expired image and its thumbnail; an image that has not expired stays."""
    old, new = aged(tmp_path, blobs.put(b"old", "png")), blobs.put(b"new", "png")
    small = thumbnail_name(old)
    blobs.put_as(small, b"small")
    keep_blob(client, old, -5.0)
    keep_blob(client, new, 3600.0)
    retention.sweep()
    assert [blobs.exists(name) for name in (old, small, new)] == [False, False, True]
    assert client.zrange(KEPT, 0, -1) == [new]


def test_ownership_ends_with_its_time(client: Any, retention: Retention) -> None:
    """
    A tenant's ownership of an upload ends after the tenant's own time, even if another tenant keeps the same bytes
    longer.
    """
    name = f"ab/ab{'0' * 62}.png"
    keep_blob(client, name, -5.0, "acme")
    keep_blob(client, name, 3600.0, "globex")
    retention.sweep()
    assert [owns_blob(client, tenant, name) for tenant in ("acme", "globex")] == [False, True]
    assert client.exists("rt:blobs:acme") == 0


def test_a_sweep_says_when_there_is_more(client: Any, retention: Retention) -> None:
    """A sweep does a bounded amount of work, and returns True if expired images are left."""
    for number in range(250):
        keep_blob(client, f"00/{number:064x}.png", -5.0)
    assert [retention.sweep() for _ in range(3)] == [True, True, False]


def test_index_entries_go_with_their_records(client: Any, retention: Retention) -> None:
    """
    Retention deletes the index entries of expired records, even if thousands of older entries, whose records still
    exist, come before them.
    """
    kept = [f"ed_kept{number:04}" for number in range(2_500)]
    gone = [f"ed_gone{number:04}" for number in range(1_500)]
    client.sadd("rt:tenants", "acme")
    client.mset({f"rt:edits:spec:{job}": "{}" for job in kept})
    for index in ("rt:jobs:acme", "rt:edits:dead", "rt:deliveries:recent"):
        client.zadd(index, dict.fromkeys(kept, 1.0))
        client.zadd(index, dict.fromkeys(gone, 2.0))
        client.zadd(index, {"ed_young": time.time()})
    retention.sweep()
    client.delete(*(f"rt:edits:spec:{job}" for job in kept))
    assert client.zcard("rt:jobs:acme") == client.zcard("rt:edits:dead") == len(kept) + 1
    assert client.zrange("rt:deliveries:recent", 0, -1) == ["ed_young"]


def test_one_process_a_minute_trims_the_indexes(client: Any, retention: Retention) -> None:
    """However many workers sweep, the indexes are trimmed once a minute."""
    retention.sweep()
    client.zadd("rt:edits:dead", {"ed_gone": 1.0})
    retention.sweep()
    assert client.zcard("rt:edits:dead") == 1
    assert 0 < client.ttl("rt:trimmed") < 60
    client.delete("rt:trimmed")
    retention.sweep()
    assert client.zcard("rt:edits:dead") == 0


def test_an_image_that_was_just_put_again_stays(client: Any, retention: Retention, blobs: BlobStore) -> None:
    """If the bytes of an expired image were stored again just now, the image stays, and its entry gets a later time."""
    name = blobs.put(b"the same bytes", "png")
    keep_blob(client, name, -5.0)
    retention.sweep()
    assert blobs.exists(name)
    assert client.zscore(KEPT, name) > client.time()[0]


def test_a_sweeper_that_dies_leaves_its_images_to_the_next(
    client: Any, retention: Retention, blobs: BlobStore, tmp_path: Path
) -> None:
    """
    If a process takes expired images in order to delete them and then dies, another process deletes them an hour later.
    """
    names = {aged(tmp_path, blobs.put(text, "png")) for text in (b"one", b"two")}
    for name in names:
        keep_blob(client, name, -5.0)
    assert set(take_due_blobs(client)) == names
    assert retention.sweep() is False
    for name in names:
        assert 3_500 < client.zscore(KEPT, name) - client.time()[0] <= 3_601
        client.zadd(KEPT, {name: 1.0})
    retention.sweep()
    assert not any(map(blobs.exists, names))
    assert client.zcard(KEPT) == 0


def test_an_image_that_is_asked_for_again_stays(client: Any, blobs: BlobStore, tmp_path: Path) -> None:
    """
    If a process has taken an expired image to delete it, and a job then keeps the image longer, the image and its entry
    stay.
    """
    name = aged(tmp_path, blobs.put(b"wanted", "png"))
    keep_blob(client, name, -5.0)
    (mark,) = take_due_blobs(client).values()
    keep_blob(client, name, 90_000.0)
    assert drop_blob(client, blobs, name, mark) is False
    assert blobs.exists(name)
    assert client.zscore(KEPT, name) - client.time()[0] > 80_000


def test_an_entry_that_was_moved_on_during_the_deletion_stays(
    client: Any, blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    If a job stores the same bytes again while a sweep deletes the image, the sweep does not remove the image's new
    entry.
    """
    name = aged(tmp_path, blobs.put(b"wanted", "png"))
    keep_blob(client, name, -5.0)
    (mark,) = take_due_blobs(client).values()
    delete = blobs.delete_idle

    def delete_while_a_job_ends(name: str, idle_s: float) -> bool:
        gone = delete(name, idle_s)
        blobs.put(b"wanted", "png")
        keep_blob(client, name, 90_000.0)
        return gone

    monkeypatch.setattr(blobs, "delete_idle", delete_while_a_job_ends)
    assert drop_blob(client, blobs, name, mark) is True
    assert client.zscore(KEPT, name) - client.time()[0] > 80_000


def test_one_bad_name_does_not_stop_a_sweep(
    client: Any, retention: Retention, blobs: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Even if one name is invalid and some deletions fail, a sweep deletes the other images. Only the entries of failed
    deletions stay.
    """
    stuck, broken, fine = (aged(tmp_path, blobs.put(text, "png")) for text in (b"stuck", b"broken", b"fine"))
    client.zadd(KEPT, {"no name": 1.0, stuck: 2.0, broken: 3.0, fine: 4.0})
    delete, faults = blobs.delete_idle, {stuck: BlobError("the disk is read-only"), broken: OSError("no such device")}

    def delete_some(name: str, idle_s: float) -> bool:
        if name in faults:
            raise faults[name]
        return delete(name, idle_s)

    monkeypatch.setattr(blobs, "delete_idle", delete_some)
    assert retention.sweep() is True
    assert set(client.zrange(KEPT, 0, -1)) == {stuck, broken}
    assert not blobs.exists(fine)


def test_keeping_never_shortens(client: Any) -> None:
    """If two jobs have the same bytes, the longer retention counts."""
    keep_blob(client, "ab/x", 1000.0)
    keep_blob(client, "ab/x", 10.0)
    assert client.zscore(KEPT, "ab/x") - client.time()[0] > 900


def test_a_durable_intent_is_on_the_disk_of_redis(tmp_path: Path) -> None:
    """
    With durable intents, `intend` returns `ok` when the intent is on the disk of Redis. Without an append-only file,
    `intend` returns `not_on_disk`, and the job waits without using an attempt.
    """
    with own_valkey(data_dir=tmp_path, config={"appendonly": "yes", "appendfsync": "everysec"}) as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        client: Any = connect(Settings.load(redis_url=url))
        jobs = JobStore(client, retention_s=60.0, durable_intents=True)
        with EditQueue(url) as queue:
            first, second = queue.enqueue_many([Edit(prompt="winter", init_image=PICTURE)] * 2)
        claim = jobs.claim(first.id, 15.0)
        assert claim is not None
        assert jobs.intend(claim) == "ok"
        assert "intent_at" in (tmp_path / "appendonlydir").joinpath(_newest(tmp_path)).read_text(errors="replace")
        client.config_set("appendonly", "no")
        claim = jobs.claim(second.id, 15.0)
        assert claim is not None
        assert jobs.intend(claim) == "not_on_disk"
        record = jobs.record(second.id)
        assert record is not None
        assert [charge.kind for charge in record.charges] == ["refused"]
        jobs.settle(claim, decide(GateClosed("not_on_disk"), claim.attempt(), RetryPolicy(), claim.now_at, 0.5))
        record = jobs.record(second.id)
        assert record is not None
        assert (record.state, record.attempt, record.error and record.error.code) == ("retrying", 0, "not_on_disk")
        client.close()


def _newest(folder: Path) -> str:
    return max(path.name for path in (folder / "appendonlydir").glob("*.incr.aof"))
