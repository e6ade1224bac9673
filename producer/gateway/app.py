"""The gateway as a function of settings; it connects to Redis and the blob store when first asked for something."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from producer.gateway import (
    deliveries,
    dropin,
    edits,
    feed,
    files,
    health,
    metrics,
    one_edit,
    operations,
    problems,
    receivers,
    streams,
    uploads,
)
from producer.gateway.openapi import describe
from producer.gateway.request_turns import TurnTaking
from producer.gateway.tools import GatewayTools, lifespan
from retouch.settings import Settings


def make_gateway(settings: Settings) -> FastAPI:
    """Make the application; its pages `/docs` and `/openapi.json` describe it."""
    app = FastAPI(
        title="Retouch",
        version=version("retouch"),
        summary="A durable queue in front of pix2pix.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.tools = GatewayTools(settings)
    problems.install(app)
    resources = (edits, one_edit, streams, uploads, feed, receivers, deliveries, operations, dropin, files, health)
    for resource in (*resources, metrics):
        app.include_router(resource.router)
    describe(app)
    app.add_middleware(TurnTaking, turns=app.state.tools.request_turns)
    app.add_middleware(metrics.Counting, counts=app.state.tools.requests)
    return app
