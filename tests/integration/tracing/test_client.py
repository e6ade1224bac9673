"""The Python client in an application with OpenTelemetry, and which modules are loaded while traces are off."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from retouch.store.tenants import TenantStore
from retouch_ops.simulator.process import Simulator
from tests.otlp_collector import Collector
from tests.process_watch import own_environment

APPLICATION = """
import asyncio, json, sys
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from retouch import AsyncEditQueue, Edit, EditQueue

queue, other = EditQueue(), AsyncEditQueue()  # made before the application configures its traces
provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
edit = Edit(prompt="make it winter", init_image=sys.argv[1])

async def enqueue():
    async with other:
        return (await other.enqueue(edit)).id

def inside(run):
    with trace.get_tracer("shop").start_as_current_span("checkout") as span:
        ids = span.get_span_context()
        return [run(), format(ids.trace_id, "032x"), format(ids.span_id, "016x")]

print(json.dumps([inside(lambda: queue.enqueue(edit).id), inside(lambda: asyncio.run(enqueue()))]))
"""

BLOCKER = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(BLOCKED):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""
EVERYTHING = ("opentelemetry",)
THE_EXTRA = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto")
"""FastAPI needs the API of OpenTelemetry, so a gateway has that in any case; it is no part of the extra."""

PARTS = {
    "client": "from retouch import AsyncEditQueue, EditQueue; EditQueue(); AsyncEditQueue()",
    "gateway": "from retouch import Settings; from retouch_producer.gateway.app import make_gateway; "
    "make_gateway(Settings.load())",
    "doctor": "import retouch_ops.doctor.command",
    "worker": "import retouch_worker.app; retouch_worker.app.process.edit_dependencies; "
    "retouch_worker.app.process.delivery_dependencies",
}


def run(code: str, environment: Mapping[str, str], *arguments: str, blocked: tuple[str, ...] = ()) -> Any:
    """Run a program in a new interpreter that cannot import the `blocked` packages. Return the CompletedProcess."""
    text = f"BLOCKED = {blocked!r}\n{BLOCKER}\n{code}" if blocked else code
    command = [sys.executable, "-c", text, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=own_environment(**environment))


def loaded(part: str, environment: Mapping[str, str], blocked: tuple[str, ...] = ()) -> set[str]:
    """Run a part of PARTS, and return the names of the loaded modules of OpenTelemetry and `retouch.tracing`."""
    names = "[name for name in sys.modules if name.startswith(('opentelemetry', 'retouch.tracing'))]"
    answer = run(f"{PARTS[part]}\nimport sys, json\nprint(json.dumps({names}))", environment, blocked=blocked)
    assert answer.returncode == 0, answer.stderr
    return set(json.loads(answer.stdout.splitlines()[-1]))


@pytest.fixture
def over_gateway(traced_environment: dict[str, str], gateway_url: str, client: Any) -> dict[str, str]:
    """Return the environment of a client that uses the gateway, with a new API key."""
    client.set("rt:link_key", "00" * 32)
    secret = TenantStore(client).create_key("acme", "producer", "shop")[1]
    return {**traced_environment, "RETOUCH_GATEWAY_URL": gateway_url, "RETOUCH_API_KEY": secret}


def test_the_client_continues_the_trace_of_its_application(
    traced_environment: dict[str, str], collector: Collector, simulator: Simulator, client: Any
) -> None:
    """Over Redis, the client writes the span of the enqueue as a child of the application's span, also in asyncio."""
    answer = run(APPLICATION, traced_environment, simulator.portrait_url)
    assert answer.returncode == 0, answer.stderr
    for job, trace, span in json.loads(answer.stdout):
        [enqueue] = collector.wait_for(job, "retouch.enqueue")
        assert (enqueue.service, enqueue.id[0], enqueue.parent) == ("shop", trace, span)
        assert f'"trace":"00-{trace}-{enqueue.id[1]}-' in client.get(f"rt:edits:spec:{job}")
    client.flushdb()


def test_the_client_passes_the_trace_of_its_application_to_a_gateway(
    over_gateway: dict[str, str], collector: Collector, simulator: Simulator, client: Any
) -> None:
    """If the client uses a gateway, the gateway writes the span of the enqueue as a child of the application's span."""
    answer = run(APPLICATION, over_gateway, simulator.portrait_url)
    assert answer.returncode == 0, answer.stderr
    for job, trace, span in json.loads(answer.stdout):
        [enqueue] = collector.wait_for(job, "retouch.enqueue")
        assert (enqueue.service, enqueue.id[0], enqueue.parent) == ("retouch-gateway", trace, span)
    client.flushdb()


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_loaded_while_traces_are_off(part: str, worker_environment: dict[str, str]) -> None:
    """While traces are off, each part loads only those modules of OpenTelemetry that redis-py or FastAPI loads."""
    libraries = "import redis, fastapi" if part == "gateway" else "import redis"
    names = "[name for name in sys.modules if name.startswith('opentelemetry')]"
    of_libraries = run(f"{libraries}\nimport sys, json\nprint(json.dumps({names}))", {}, blocked=THE_EXTRA)
    found = loaded(part, worker_environment)
    assert {name for name in found if name.startswith(("opentelemetry", "retouch.tracing.otel"))} <= set(
        json.loads(of_libraries.stdout)
    )


@pytest.mark.parametrize(("part", "blocked"), [("client", EVERYTHING), ("gateway", THE_EXTRA), ("worker", EVERYTHING)])
def test_without_the_extra_nothing_changes(
    part: str, blocked: tuple[str, ...], worker_environment: dict[str, str]
) -> None:
    """If the extra is not installed and traces are off, each part starts and loads no module of the extra."""
    assert not {name for name in loaded(part, worker_environment, blocked) if name.startswith(blocked)}


@pytest.mark.parametrize("part", ["client", "worker"])
def test_traces_without_the_extra_are_an_error_at_start(part: str, traced_environment: dict[str, str]) -> None:
    """When traces are on without the extra, no part starts, and the error says how to install the extra."""
    answer = run(PARTS[part], traced_environment, blocked=THE_EXTRA)
    assert answer.returncode == 1
    expected = "RETOUCH_TRACES: traces need OpenTelemetry, which is not installed: pip install 'retouch[otel]'"
    assert expected in answer.stderr.splitlines()[-1]


def test_the_command_says_what_to_install(traced_environment: dict[str, str]) -> None:
    """
    When traces are on without the extra, `retouch gateway` exits with 2 and prints how to install the extra, without a
    traceback.
    """
    code = "import sys\nsys.argv = ['retouch', 'gateway']\nfrom retouch_ops.cli import main\nmain()"
    answer = run(code, traced_environment, blocked=THE_EXTRA)
    assert (answer.returncode, "Traceback" in answer.stderr) == (2, False)
    assert "pip install 'retouch[otel]'" in answer.stderr


def test_spans_that_are_not_exported(traced_environment: dict[str, str], client: Any, simulator: Simulator) -> None:
    """When the sampler drops every span, or when there is no provider, stored jobs have no trace."""
    without_provider = APPLICATION.replace("trace.set_tracer_provider(provider)", "")
    for code, more in ((APPLICATION, {"OTEL_TRACES_SAMPLER": "always_off"}), (without_provider, {})):
        answer = run(code, {**traced_environment, **more}, simulator.portrait_url)
        assert answer.returncode == 0, answer.stderr
    specs = [client.get(name) for name in client.scan_iter("rt:edits:spec:*")]
    assert (len(specs), [spec for spec in specs if "trace" in spec]) == (4, [])
    client.flushdb()
