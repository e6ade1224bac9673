"""One tenant's many requests do not delay another tenant."""

from __future__ import annotations

import asyncio

from retouch import EditQueue
from retouch_producer.gateway.enqueue.batcher import EnqueueBatcher
from tests.lane_kit import LaneKit
from tests.store_access import store_access


def test_a_job_overtakes_another_tenants_thousand(queue: EditQueue) -> None:
    """
    If a tenant begins a thousand enqueues, and then another tenant begins one, this one is among the first 200 to end.
    """
    kit, connections = LaneKit(store_access(queue).client), store_access(queue)
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
