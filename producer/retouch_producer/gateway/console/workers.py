"""The page of workers: the last sweep, each process with its version, and the slots. Flower shows their tasks."""

from __future__ import annotations

from collections import Counter

from fastapi import Request, Response

from retouch.query import JobQuery
from retouch.store.job_search import JobSearch
from retouch.store.lanes import LANES
from retouch.store.redis_client import clear_errors
from retouch.store.worker_presence import worker_presence
from retouch_producer.findings.workers import version_findings
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router
from retouch_producer.gateway.console.visitors import SignedIn
from retouch_producer.gateway.dependencies import Injected

IN_FLIGHT_MOST = 1_000

router = console_router()


@router.get("/workers")
def show_workers(request: Request, visitor: SignedIn, dependencies: Injected) -> Response:
    """
    Show the last sweep, the slots of both lanes, and each worker: version, lanes, accounts, threads, edits in flight.

    Edits in flight are those that the visitor may see.
    """
    settings = dependencies.settings
    with clear_errors():
        presence = worker_presence(dependencies.client)
        running = JobQuery((visitor.tenant,) if visitor.tenant else (), states=("running",))
        records = JobSearch(dependencies.connections.jobs).page(running, IN_FLIGHT_MOST).records
        lanes = {lane: dependencies.connections.lanes.numbers(lane) for lane in LANES}
    flower = f"http://{settings.flower_address}:{settings.flower_port}"
    return page(
        request,
        "workers.html",
        visitor,
        presence=presence,
        mixed=version_findings(presence),
        in_flight=Counter(record.worker for record in records),
        lanes=lanes,
        flower=flower,
        lease_s=settings.lease_s,
    )
