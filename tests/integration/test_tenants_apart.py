"""What one tenant may have many of is bounded where it would cost the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from producer.gateway.door import EnqueueBatcher
from retouch import EditQueue
from retouch.errors import InvalidEdit
from retouch.store.receivers import EVERY_JOB_MOST
from tests.behind import behind
from tests.lanes import LaneKit


def test_receivers_of_every_job_are_bounded(client: Any) -> None:
    """The twenty-first receiver of every job is refused, as each event of the tenant would cost Redis one more."""
    kit = LaneKit(client)
    urls = [f"https://hooks.example/{number}" for number in range(EVERY_JOB_MOST + 1)]
    for url in urls[:-1]:
        kit.receivers.add("acme", url)
    with pytest.raises(InvalidEdit, match=str(EVERY_JOB_MOST)):
        kit.receivers.add("acme", urls[-1])
    assert kit.receivers.add("acme", urls[0], ["edit.failed"]).events == ("edit.failed",)
    kit.receivers.add("other", urls[-1])
    kit.receivers.ensure("acme", urls[-1])
    for receiver in kit.receivers.all():
        kit.receivers.remove(receiver.id)


def test_a_job_overtakes_another_tenants_thousand(queue: EditQueue) -> None:
    """A job that arrives behind a thousand of another tenant goes in with the first hundred of them."""
    kit, connections = LaneKit(behind(queue).client), behind(queue)
    batcher = EnqueueBatcher(connections.jobs, connections.publisher)
    finished: list[str] = []

    async def enqueue(tenant: str) -> None:
        [result] = await batcher.enqueue([kit.new(tenant)])
        assert result.kind == "new"
        finished.append(tenant)

    async def enqueue_all() -> None:
        await asyncio.gather(*(enqueue("many") for _ in range(1_000)), enqueue("other"))

    asyncio.run(enqueue_all())
    assert finished.index("other") < 200
    for tenant in ("many", "other"):
        for job in list(connections.jobs.ids(tenant)):
            connections.jobs.cancel(job)
