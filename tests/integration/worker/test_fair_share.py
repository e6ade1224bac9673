"""
Real workers use the whole limit of the endpoint and never exceed it; a small tenant does not wait for a large tenant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from retouch import Edit, EditQueue, Job
from retouch_ops.simulator.process import Simulator

CAP = 5


def edits(simulator: Simulator, name: str, count: int) -> list[Edit]:
    picture = f"{simulator.url}/samples/portrait.jpg"
    return [Edit(prompt=f"winter [[{name}{number}]]", init_image=picture) for number in range(count)]


def test_two_workers_share_five_slots_between_three_tenants(
    simulator: Simulator, queue: EditQueue, worker: Callable[..., Any]
) -> None:
    """
    Two workers with 20 threads use the whole limit of 5 calls and never exceed it. The job of the smallest tenant is
    among the first ten to start. The other two tenants take turns.
    """
    simulator.settings(cap=CAP, latency_s=0.2)
    jobs: dict[str, list[Job]] = {
        tenant: queue.enqueue_many(edits(simulator, tenant, count), tenant=tenant)
        for tenant, count in (("large", 75), ("middle", 24), ("small", 1))
    }
    for name in ("a", "b"):
        worker("-n", f"{name}@fair", concurrency=10, in_flight_limit=CAP)
    for job in (job for own in jobs.values() for job in own):
        job.result(timeout_s=60)
    books = simulator.books()
    assert books["max_in_flight"] == CAP
    assert books["refused"] == {}
    assert (books["posts"], books["charged"]) == (100, 100)
    started = sorted((job.record().started_at or 0.0, tenant) for tenant, own in jobs.items() for job in own)
    order = [tenant for _, tenant in started]
    assert order.index("small") < 2 * CAP, f"the small tenant's job was number {order.index('small')} of 100"
    assert 15 <= order[:48].count("middle") <= 24, "two tenants with equal weights should go in turn"
