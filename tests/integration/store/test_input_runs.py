"""Tests of other runs of one picture: the jobs, their order, and how long they are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from retouch.blobs import open_blobs
from retouch.outcomes import Succeed
from retouch.store import keys
from retouch.store.blob_retention import trim_indexes
from retouch.store.erasure import erase_tenant
from retouch.store.input_runs import other_runs
from retouch.store.jobs import NewJob
from retouch.store.records import JobRecord
from tests.lane_kit import IMAGE, RETENTION_S, LaneKit

FIRST, SECOND = (f"{digit * 2}/{digit * 64}.jpg" for digit in "ab")


def record(kit: LaneKit, job: str) -> JobRecord:
    found = kit.jobs.record(job)
    assert found is not None
    return found


def claimed(kit: LaneKit, picture: str = FIRST, tenant: str = "acme", **spec: Any) -> NewJob:
    """Enqueue a job with this picture and claim it."""
    job = kit.new(tenant, input=picture, **spec)
    kit.enqueue(job)
    kit.claim(job.id)
    return job


def test_runs_of_the_same_picture_are_found(kit: LaneKit) -> None:
    """
    `other_runs` returns the tenant's other claimed jobs with the same picture, newest first, and their total number.
    """
    kit.open(50, 0.0)
    first, second, third = (claimed(kit).id for _ in range(3))
    claimed(kit, SECOND)
    claimed(kit, tenant="globex")
    runs = other_runs(kit.jobs, record(kit, second), 10)
    assert ([one.id for one in runs.records], runs.total) == ([third, first], 2)
    newest = other_runs(kit.jobs, record(kit, first), 1)
    assert ([one.id for one in newest.records], newest.total) == ([third], 2)


def test_a_traced_job_is_a_run_too(kit: LaneKit) -> None:
    """A job with a trace is found by its picture too."""
    kit.open(50, 0.0)
    context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    first, second = (claimed(kit, trace=context).id for _ in range(2))
    runs = other_runs(kit.jobs, record(kit, first), 10)
    assert [one.id for one in runs.records] == [second]


def test_a_job_that_waits_costs_nothing(kit: LaneKit, client: Any) -> None:
    """A job enters the index of pictures only when it is claimed. `other_runs` works for a waiting job too."""
    kit.open(1, 0.0)
    done = claimed(kit).id
    waiting = kit.new(input=FIRST)
    kit.enqueue(waiting)
    index = keys.jobs_by("input", "acme", keys.input_digest(FIRST))
    assert client.zrange(index, 0, -1) == [done]
    runs = other_runs(kit.jobs, record(kit, waiting.id), 10)
    assert ([one.id for one in runs.records], runs.total) == ([done], 1)


def test_a_tag_is_no_picture(kit: LaneKit, client: Any) -> None:
    """The index by picture ignores a tag with the name `input`, whether the job has a picture or not."""
    kit.open(50, 0.0)
    tags = {"input": SECOND}
    job = claimed(kit, "", tags=tags).id
    assert other_runs(kit.jobs, record(kit, job), 10).records == []
    claimed(kit, FIRST, tags=tags)
    assert list(client.scan_iter("rt:jobs_by_input:*")) == [keys.jobs_by("input", "acme", keys.input_digest(FIRST))]


def test_a_longest_name_is_indexed(kit: LaneKit) -> None:
    """A picture with the longest suffix that is allowed is found too."""
    kit.open(50, 0.0)
    name = f"cc/{'c' * 64}.{'x' * 12}"
    first, second = claimed(kit, name).id, claimed(kit, name).id
    assert [one.id for one in other_runs(kit.jobs, record(kit, first), 5).records] == [second]


def test_runs_end_with_their_records(kit: LaneKit, client: Any) -> None:
    """
    When the record of a job is deleted, retention deletes the job's entry in the index and keeps the other entries.
    """
    kit.open(50, 0.0)
    index = keys.jobs_by("input", "acme", keys.input_digest(FIRST))
    gone, kept = (_ended(kit) for _ in range(2))
    client.delete(keys.spec("edits", gone), keys.state("edits", gone), keys.timeline(gone))
    client.zadd(index, {gone: 1.0})
    client.zadd(keys.job_indexes("acme"), {index: 1.0})
    trim_indexes(client, RETENTION_S)
    assert client.zrange(index, 0, -1) == [kept]


def test_erasing_drops_the_runs(kit: LaneKit, client: Any, tmp_path: Path) -> None:
    """After a tenant is erased, no index of its jobs is left."""
    _ended(kit)
    erase_tenant(client, kit.jobs, open_blobs(tmp_path.as_uri(), "http://127.0.0.1:8000"), "acme")
    assert list(client.scan_iter("rt:job*acme*")) == []


def _ended(kit: LaneKit) -> str:
    job = kit.new(input=FIRST)
    kit.enqueue(job)
    kit.jobs.settle(kit.claim(job.id), Succeed(replace(IMAGE, name=SECOND)))
    return job.id
