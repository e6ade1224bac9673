"""The page of workers: the last sweep, the threads for deliveries and the slots. Flower shows the tasks of workers."""

from __future__ import annotations

from fastapi import Request, Response

from retouch.store.lanes import LANES
from retouch.store.redis_client import clear_errors
from retouch.store.worker_presence import worker_presence
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router
from retouch_producer.gateway.console.visitors import SignedIn
from retouch_producer.gateway.dependencies import Injected

router = console_router()


@router.get("/workers")
def show_workers(request: Request, visitor: SignedIn, dependencies: Injected) -> Response:
    """Show the last sweep, the workers with threads for deliveries, and the slots of both lanes."""
    settings = dependencies.settings
    with clear_errors():
        presence = worker_presence(dependencies.client)
        lanes = {lane: dependencies.connections.lanes.numbers(lane) for lane in LANES}
    flower = f"http://{settings.flower_address}:{settings.flower_port}"
    return page(
        request, "workers.html", visitor, presence=presence, lanes=lanes, flower=flower, lease_s=settings.lease_s
    )
