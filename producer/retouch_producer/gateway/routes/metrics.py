"""`/metrics`: the numbers of this process; those of the whole store are at `/metrics/store`."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import Caller
from retouch_producer.gateway.http.errors import problem_responses

router = APIRouter(tags=["health"])


class Counting:
    """
    ASGI middleware that counts answers by route and status.

    A route is named by its path template, so the labels hold no ids.
    """

    def __init__(self, app: ASGIApp, counts: Counter[tuple[str, int]]) -> None:
        self._app, self._counts = app, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route: Any = scope.get("route")
                self._counts[getattr(route, "path", "unknown"), message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counted)


class ProcessNumbers(Collector):
    """A collector for Prometheus: the version of this process, and its answers by route and status."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. The store is not read, so a failed scrape means that this process does not answer."""
        answers = CounterMetricFamily("retouch_http_answers", "Answers of this process.", labels=["route", "status"])
        for (route, status), count in dict(self._dependencies.requests).items():
            answers.add_metric([route, str(status)], count)
        yield answers
        build = GaugeMetricFamily("retouch_build_info", "1, with the version.", labels=["version", "python"])
        build.add_metric([version("retouch"), platform.python_version()], 1.0)
        yield build


@router.get(
    "/metrics",
    operation_id="read_metrics",
    response_class=Response,
    responses={
        200: {"description": "Metrics for Prometheus.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **problem_responses(401, 403),
    },
)
def read_metrics(_key: Caller, dependencies: Injected) -> Response:
    """Return this process' metrics for Prometheus. Every caller needs a key of role ops or viewer."""
    # A request from this machine may come through a proxy, or from a browser that a foreign page steers.
    return Response(_scrape(dependencies), media_type=CONTENT_TYPE_LATEST)


def _scrape(dependencies: Dependencies) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(ProcessNumbers(dependencies))
    return generate_latest(registry)
