"""A collector of traces: an HTTP server that receives OTLP in protobuf and stores the spans."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.process_watch import eventually
from tests.served_http import served

SpanId = tuple[str, str]
"""The ids of a trace and of a span in it, as in a `traceparent`."""

NONE = "0" * 16
ATTEMPT = "retouch.attempt"


def span_id(traceparent: str) -> SpanId:
    """Return the ids of the trace and the span in a `traceparent`."""
    version, trace, span, _ = traceparent.split("-")
    assert version == "00"
    return trace, span


@dataclass(frozen=True)
class ExportedSpan:
    """One span as the collector received it."""

    service: str
    name: str
    id: SpanId
    parent: str
    links: tuple[SpanId, ...]
    attributes: dict[str, object]
    failed: bool
    description: str
    events: int
    kind: str

    @property
    def job(self) -> object:
        return self.attributes.get("retouch.job")

    @property
    def is_root(self) -> bool:
        return self.parent == NONE


@dataclass
class Collector:
    """Stores the spans, and the body of each request."""

    url: str = ""
    spans: list[ExportedSpan] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        """Store the body of one request and its spans."""
        self.bodies.append(body)
        for part in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(str(_value(one.value)) for one in part.resource.attributes if one.key == "service.name")
            self.spans += [_span(service, one) for scope in part.scope_spans for one in scope.spans]

    def of(self, job: object, name: str) -> list[ExportedSpan]:
        """Return a job's spans of one name, in the order of their export."""
        return [span for span in list(self.spans) if span.name == name and span.job == job]

    def inside(self, span: ExportedSpan) -> list[ExportedSpan]:
        """Return the children of a span, in the order of their export."""
        return [one for one in list(self.spans) if (one.id[0], one.parent) == span.id]

    def wait_for(self, job: object, name: str, count: int = 1) -> list[ExportedSpan]:
        """Wait until a job has at least `count` spans with this name, and return all of them; fail after 40 s."""
        assert eventually(lambda: len(self.of(job, name)) >= count), [(span.name, span.job) for span in self.spans]
        return self.of(job, name)

    def wait_for_decisions(self, job: object, decisions: Iterable[str]) -> None:
        """Wait until the spans of a job's attempts contain each of these decisions; fail after 40 s."""
        wanted = set(decisions)
        assert eventually(lambda: wanted <= {span.attributes["retouch.decision"] for span in self.of(job, ATTEMPT)})


def _span(service: str, raw: trace_pb2.Span) -> ExportedSpan:
    return ExportedSpan(
        service=service,
        name=raw.name,
        id=(raw.trace_id.hex(), raw.span_id.hex()),
        parent=raw.parent_span_id.hex() or NONE,
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in raw.links),
        attributes={one.key: _value(one.value) for one in raw.attributes},
        failed=raw.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        description=raw.status.message,
        events=len(raw.events),
        kind=trace_pb2.Span.SpanKind.Name(raw.kind).removeprefix("SPAN_KIND_"),
    )


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Context manager that runs a collector on a free port, and yields it."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            collector.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with served(Handler) as collector.url:
        yield collector
