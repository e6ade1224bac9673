"""`/metrics`: numbers of both lanes, ended jobs, and the answers of this process; all are read at each scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from heapq import nlargest
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retouch.store.failing_receivers import count_failing, count_shut
from retouch.store.lanes import LANES
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.dependencies import Dependencies, Tools
from retouch_producer.gateway.http.auth import Caller
from retouch_producer.gateway.http.errors import documented
from retouch_producer.gateway.routes.account_metrics import AccountCollector

router = APIRouter(tags=["health"])
_TENANTS_MOST = 50
"""Most tenants with a number of their own: each label value is a time series of its own in Prometheus."""
_GAUGES = (
    ("waiting", "Items in the backlog."),
    ("held", "Slots held: items in flight."),
    ("limit", "Slots in all."),
    ("parked", "Items that wait for their time, without a slot."),
    ("dead", "Dead letters."),
    ("paused", "1 while paused by hand."),
    ("breaker_open_s", "Seconds until the breaker lets a probe through; 0 when closed."),
)


class Counting:
    """ASGI middleware that counts answers by route and status; the route is its template, so labels hold no ids."""

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


class LaneCollector(Collector):
    """Collector for Prometheus that reads the numbers of both lanes from Redis at each scrape."""

    def __init__(self, tools: Dependencies) -> None:
        self._tools = tools

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics. Raises `StoreUnavailable`, since old numbers would look like current ones."""
        with clear_errors():
            numbers = {lane: self._tools.connections.lanes.numbers(lane) for lane in LANES}
            ended = self._tools.connections.jobs.counts()
            failing, shut = count_failing(self._tools.client), count_shut(self._tools.client)
        for name, words in _GAUGES:
            gauge = GaugeMetricFamily(f"retouch_lane_{name}", words, labels=["lane"])
            for lane, lane_numbers in numbers.items():
                gauge.add_metric([lane], float(getattr(lane_numbers, name)))
            yield gauge
        waiting = GaugeMetricFamily(
            "retouch_tenant_waiting", f"Jobs of a tenant that wait; the {_TENANTS_MOST} largest.", labels=["tenant"]
        )
        depths = numbers["edits"].waiting_by_group
        for tenant in nlargest(_TENANTS_MOST, depths, key=depths.__getitem__):
            waiting.add_metric([tenant], depths[tenant])
        yield waiting
        jobs = CounterMetricFamily("retouch_jobs_ended", "Jobs that ended, by state.", labels=["state"])
        for state, count in ended.items():
            jobs.add_metric([state], count)
        yield jobs
        yield GaugeMetricFamily("retouch_receivers_failing", "Receivers whose last attempts failed.", value=failing)
        yield GaugeMetricFamily("retouch_receivers_shut", "Hosts and tasks whose breaker is open.", value=shut)
        answers = CounterMetricFamily("retouch_http_answers", "Answers of this process.", labels=["route", "status"])
        for (route, status), count in dict(self._tools.requests).items():
            answers.add_metric([route, str(status)], count)
        yield answers


@router.get(
    "/metrics",
    operation_id="read_metrics",
    response_class=Response,
    responses={
        200: {"description": "Metrics for Prometheus.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented(401, 403, 503),
    },
)
def read_metrics(_key: Caller, tools: Tools) -> Response:
    """Return metrics for Prometheus. Every caller needs a key of role ops, also from this machine."""
    # A request from this machine may come through a proxy, or from a browser that a foreign page steers.
    return Response(_scrape(tools), media_type=CONTENT_TYPE_LATEST)


def _scrape(tools: Dependencies) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(LaneCollector(tools))
    registry.register(AccountCollector(tools.client))
    return generate_latest(registry)
