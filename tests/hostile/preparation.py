"""Writes the jobs, tags and receivers that a hostile tenant has before the measurement, directly into the store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from retouch.batches import batched
from retouch.connections import Connections
from retouch.errors import InvalidEdit
from retouch.outcomes import Fail
from retouch.store.jobs import NewJob
from retouch.store.records import JobSpec

TENANT = "hostile"
COUNTS = {"jobs": 100_000, "tags": 300_000, "receivers": 20_000, "every_job": 5_000}
TAGS_OF_ONE = 20


def new_job(server_url: str, **spec: object) -> NewJob:
    """Return a job of the hostile tenant."""
    edit = {"prompt": "make it winter", "init_image": f"{server_url}/photo"}
    text = JobSpec(TENANT, edit, 86_400.0, **spec).to_json()  # type: ignore[arg-type]  # fields by name, of several types
    return NewJob(f"ed_{uuid4().hex[:24]}", text, TENANT, "normal", 86_400.0)


def add_records(connections: Connections, kind: str, count: int, server_url: str) -> list[str]:
    """Add `count` records of one kind; return up to 2,000 ids of jobs or receivers."""
    add_by_kind: dict[str, Callable[[Connections, int, str], list[str]]] = {
        "jobs": _jobs,
        "tags": _tags,
        "receivers": _receivers,
        "every_job": _every_job,
    }
    return add_by_kind[kind](connections, count, server_url)[:2_000]


def _jobs(connections: Connections, count: int, server_url: str) -> list[str]:
    new = [new_job(server_url, tags={"order": str(number % 100)}) for number in range(count)]
    for part in batched(new, 1_000):
        connections.publisher.publish(connections.jobs.enqueue(part)[1])
    return [job.id for job in new]


def _tags(connections: Connections, count: int, server_url: str) -> list[str]:
    """
    Add jobs that failed after a charge, with twenty tags each and `count` tags in all. Send no messages for them.
    Return an empty list.
    """
    for start in range(0, count, TAGS_OF_ONE):
        tags = {f"t{number}": str(start) for number in range(TAGS_OF_ONE)}
        job = new_job(server_url, tags=tags)
        connections.jobs.enqueue([job])
        if claim := connections.jobs.claim(job.id, 15.0):
            connections.jobs.intend(claim)
            connections.jobs.answer(claim, "succeeded", None)
            connections.jobs.settle(claim, Fail("made_up", "of a test", retryable=False))
    return []


def _receivers(connections: Connections, count: int, server_url: str) -> list[str]:
    return [connections.receivers.ensure(TENANT, f"{server_url}/hang/of-a-job/{number}").id for number in range(count)]


def _every_job(connections: Connections, count: int, server_url: str) -> list[str]:
    """
    Add up to `count` receivers that get the events of all jobs, and return their ids. The tenant's limit may allow
    fewer.
    """
    ids = []
    with suppress(InvalidEdit):
        for number in range(count):
            ids.append(connections.receivers.add(TENANT, f"{server_url}/fail/every/{number}").id)  # noqa: PERF401 - those before a refusal are kept
    return ids
