"""Traces survive the death of a worker, and a collector that does not answer stops no worker."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from retouch import EditQueue
from retouch_ops.simulator.process import Simulator
from tests.conftest import RunningWorker
from tests.gateway_process import Callers
from tests.otlp_collector import Collector
from tests.process_watch import eventually


@pytest.fixture
def traced(traced_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment so that the workers that a test starts send traces."""
    for name, value in traced_environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def silent_collector() -> Iterator[str]:
    """Yield the URL of a collector that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.chaos
@pytest.mark.usefixtures("traced")
def test_the_attempt_after_a_kill_links_to_the_same_enqueue(
    callers: Callers,
    edit_body: Callable[..., Any],
    collector: Collector,
    simulator: Simulator,
    worker: Callable[..., RunningWorker],
) -> None:
    """When a worker is killed during its call, the span of the next attempt links to the same span of enqueueing."""
    simulator.faults(next=[{"kind": "read_timeout"}])
    first = worker(lease_s=3)
    job = callers().post("/v1/edits", edit_body()).json()["id"]
    assert eventually(lambda: simulator.books()["posts"] == 1)
    first.kill()
    worker(lease_s=3)
    collector.wait_for_decisions(job, ["Succeed"])
    [enqueue] = collector.wait_for(job, "retouch.enqueue")
    attempts = collector.of(job, "retouch.attempt")
    assert {attempt.links for attempt in attempts} == {(enqueue.id,)}
    assert attempts[-1].attributes["retouch.attempt"] == 2


@pytest.mark.usefixtures("traced")
def test_a_silent_collector_stops_no_worker(
    queue: EditQueue,
    edit_body: Callable[..., Any],
    silent_collector: str,
    worker: Callable[..., RunningWorker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the collector does not answer, jobs succeed, and a worker stops within 15 seconds after SIGTERM."""
    from retouch import Edit

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", silent_collector)
    running = worker()
    body = edit_body()
    job = queue.enqueue(Edit(prompt=body["prompt"], init_image=body["init_image"]))
    assert job.result(timeout_s=30).size[0] > 0
    running.process.send_signal(signal.SIGTERM)
    # The SDK by itself would wait for half a minute.
    assert running.process.wait(timeout=15) == 0, running.log
