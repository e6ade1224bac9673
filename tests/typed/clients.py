"""The types that mypy must infer for the two clients. mypy reads this file; no test runs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from retouch import AsyncEditQueue, AsyncEditResult, AsyncJob, Edit, EditQueue, EditResult, Job, JobState
from retouch.events import Event


def plain(queue: EditQueue, edit: Edit) -> None:
    """Use the client for threads; `assert_type` states the type of each call."""
    job = queue.enqueue(edit, priority="high")
    assert_type(job, Job)
    assert_type(queue.enqueue_many([edit, (edit, {"tags": {}})]), list[Job])
    assert_type(queue.jobs(state="failed"), Iterator[Job])
    assert_type(job.state, JobState)
    assert_type(job.events(), Iterator[Event])
    result = job.result(timeout_s=1)
    assert_type(result, EditResult)
    assert_type(result.image, bytes)
    assert_type(result.url, str)
    assert_type(result.size, tuple[int, int])


async def awaited(queue: AsyncEditQueue, edit: Edit) -> None:
    """Use the client for asyncio; `assert_type` states the type of each call."""
    async with queue as same:
        assert_type(same, AsyncEditQueue)
    job = await queue.enqueue(edit, priority="high")
    assert_type(job, AsyncJob)
    assert_type(await queue.enqueue_many([edit, (edit, {"tags": {}})]), list[AsyncJob])
    assert_type(queue.jobs(state="failed"), AsyncIterator[AsyncJob])
    assert_type(await job.state, JobState)
    assert_type(job.events(), AsyncIterator[Event])
    result = await job.result(timeout_s=1)
    assert_type(result, AsyncEditResult)
    assert_type(await result.image, bytes)
    assert_type(await result.url, str)
    assert_type(result.size, tuple[int, int])
