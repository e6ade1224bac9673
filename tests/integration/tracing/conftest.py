"""Fixtures: a collector of spans, and a worker and a gateway that export their spans to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import start_worker
from tests.gateway_process import running_gateway
from tests.otlp_collector import Collector, running_collector


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced_environment(worker_environment: dict[str, str], collector: Collector) -> dict[str, str]:
    """Return the worker's environment with traces on. A variable also asks FastAPI to export its own spans."""
    return {
        **worker_environment,
        "RETOUCH_TRACES": "true",
        "RETOUCH_LEASE_S": "3",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
    }


@pytest.fixture(scope="module")
def gateway_url(traced_environment: dict[str, str]) -> Iterator[str]:
    """Yield the URL of a gateway that exports its spans. This fixture replaces `gateway_url` of the other tests."""
    with running_gateway(traced_environment) as (url, _):
        yield url


@pytest.fixture(scope="module")
def traced_worker(traced_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    running = start_worker(traced_environment, tmp_path_factory.mktemp("traced") / "log")
    yield
    running.kill()
