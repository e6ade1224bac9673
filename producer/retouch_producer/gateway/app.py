"""
Builds the FastAPI application of the gateway from settings. The application opens its connections on the first request.
"""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from retouch.settings import Settings
from retouch_producer.gateway.console import router as console
from retouch_producer.gateway.dependencies import Dependencies, lifespan
from retouch_producer.gateway.http import errors
from retouch_producer.gateway.http.openapi import describe
from retouch_producer.gateway.http.request_turns import TurnTaking
from retouch_producer.gateway.http.revocation import RevocationWatch
from retouch_producer.gateway.http.trace_context import TraceContext
from retouch_producer.gateway.routes import (
    accounts,
    admin,
    audit,
    bulk,
    deliveries,
    edit_events,
    edit_moves,
    edit_subresources,
    edits,
    feed,
    files,
    health,
    metrics,
    pix2pix_compat,
    receivers,
    stats,
    store_metrics,
    uploads,
)

# FastAPI would export the path and query of each request, which for our links are credentials, and texts of exceptions.
_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def make_gateway(settings: Settings) -> FastAPI:
    """
    Return the application with all routes and middleware. It serves its description at `/docs` and `/openapi.json`.
    """
    app = FastAPI(
        title="Retouch",
        version=version("retouch"),
        summary="A durable queue in front of pix2pix.",
        lifespan=lifespan,
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
    )
    dependencies = app.state.dependencies = Dependencies(settings)
    errors.install(app)
    resources = (
        edits,
        edit_moves,
        edit_subresources,
        edit_events,
        uploads,
        feed,
        receivers,
        deliveries,
        bulk,
        admin,
        audit,
        accounts,
        stats,
        pix2pix_compat,
        files,
        health,
    )
    for resource in (*resources, metrics, store_metrics, console):
        app.include_router(resource.router)
    describe(app)
    # The middleware added last runs first, so `Counting` counts the answers of all layers below it.
    app.add_middleware(RevocationWatch, are_valid=dependencies.key_cache.are_valid)
    app.add_middleware(TurnTaking, turns=dependencies.request_limiter, slows_others=dependencies.slows_others)
    app.add_middleware(metrics.Counting, counts=dependencies.requests)
    if settings.traces:
        app.add_middleware(TraceContext, tracing=dependencies.connections.tracing)
    return app
