"""
Records spans with OpenTelemetry. This module is loaded only while traces are on.

This is the only module that makes span names and attributes. They hold ids, tenants, accounts, states, codes, classes,
numbers of attempts, statuses and sizes; never a prompt, a URL, a key, a tag, or the text of an error.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, StatusCode, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes, AttributeValue

from retouch.errors import SettingsError
from retouch.outcomes import (
    AccountRefused,
    Decision,
    Fail,
    Failed,
    GenerationLost,
    Outcome,
    Refused,
    Retry,
    Succeed,
    Unknown,
)
from retouch.store.deliveries import DeliveryClaim, Settlement
from retouch.store.jobs import EnqueueResult, NewJob
from retouch.store.records import Claim
from retouch.tracing.interface import EndpointCall, Span, Tracing

_LAST_EXPORT_S = 2.0  # a worker has ten seconds to exit once its last call has ended, and half of them are for Redis
_FAILURES = (Refused, AccountRefused, Failed, Unknown, GenerationLost)
_EXPORTERS: dict[str, type[SpanExporter]] = {"otlp": OTLPSpanExporter, "console": ConsoleSpanExporter}
# Not the propagators of OTEL_PROPAGATORS: these may send the baggage of an application to its customers' receivers.
_W3C = TraceContextTextMapPropagator()


class OpenTelemetry(Tracing):
    """
    Records spans with a tracer of `provider`. If `provider` is None, the application's provider is used.

    The application may set its provider later.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = trace.get_tracer("retouch", version("retouch"), tracer_provider=provider)

    @contextmanager
    def incoming(self, headers: Mapping[str, str]) -> Iterator[None]:
        """Make the remote span of `traceparent` the parent of the spans in the block, if they have no parent yet."""
        if "traceparent" not in headers or trace.get_current_span().get_span_context().is_valid:
            yield
            return
        token = context.attach(_W3C.extract({"traceparent": headers["traceparent"]}))
        try:
            yield
        finally:
            context.detach(token)

    @contextmanager
    def enqueue(self, jobs: Sequence[NewJob]) -> Iterator[tuple[Sequence[NewJob], Span]]:
        """
        Record an enqueue as a part of the present trace; yield the jobs to enqueue, and the span.

        If the span is sampled, its `traceparent` is in the specs of the jobs. Otherwise the specs do not grow.
        """
        if not any(job.spec_json for job in jobs):  # a look-up of a key
            yield jobs, Span()
            return
        tenants = {job.tenant for job in jobs}
        facts: dict[str, AttributeValue] = {"jobs": len(jobs), "tenant": tenants.pop() if len(tenants) == 1 else ""}
        with self._span("retouch.enqueue", SpanKind.PRODUCER, facts) as span:
            parent = self.headers().get("traceparent", "")
            is_kept = trace.get_current_span().get_span_context().trace_flags.sampled
            yield [traced_job(job, parent) for job in jobs] if is_kept else jobs, span

    @contextmanager
    def attempt(self, claim: Claim) -> Iterator[Span]:
        """Record an attempt. Its number is added at the end of the span, since the intent to POST sets the number."""
        facts = {"job": claim.job, "tenant": claim.spec.tenant, "account": claim.account}
        with self._root("retouch.attempt", claim.spec.trace, facts) as span:
            yield span
            span.note(attempt=claim.number)

    @contextmanager
    def endpoint_call(self, call: EndpointCall, account: str = "") -> Iterator[Span]:
        """Record a call of the endpoint. No `traceparent` is sent to the endpoint."""
        with self._span(f"retouch.endpoint.{call}", SpanKind.CLIENT, {"account": account}) as span:
            yield span

    @contextmanager
    def delivery(self, claim: DeliveryClaim, trace: str) -> Iterator[Span]:
        """Record a delivery attempt. The `traceparent` that is sent to the receiver names this span."""
        facts = {"delivery": claim.delivery, "job": claim.job, "tenant": claim.tenant, "event": claim.type}
        with self._root("retouch.delivery", trace, {**facts, "attempt": claim.number}) as span:
            yield span

    def headers(self) -> dict[str, str]:
        """Return the header `traceparent` of the present span, which may be the application's; without a span, {}."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return {name: value for name, value in carrier.items() if name == "traceparent"}

    def close(self) -> None:
        """Export the spans that are left. If the collector does not answer, stop after two seconds."""
        if self._provider:
            # The provider itself would wait for half a minute.
            last = threading.Thread(target=self._provider.shutdown, name="retouch-last-spans", daemon=True)
            last.start()
            last.join(_LAST_EXPORT_S)

    @contextmanager
    def _root(self, name: str, enqueue: str, facts: Mapping[str, AttributeValue]) -> Iterator[_Recorded]:
        """
        Record a span that begins a new trace and links to the span of the enqueue.

        The trace of the enqueue is not continued, since a job may run days later, when that trace is complete.
        """
        remote = trace.get_current_span(_W3C.extract({"traceparent": enqueue}, Context())).get_span_context()
        links = [Link(remote)] if remote.is_valid else []
        with self._span(name, SpanKind.CONSUMER, facts, links, Context()) as span:
            yield span

    @contextmanager
    def _span(
        self,
        name: str,
        kind: SpanKind,
        facts: Mapping[str, AttributeValue],
        links: Sequence[Link] = (),
        parent: Context | None = None,
    ) -> Iterator[_Recorded]:
        # Exceptions are not recorded, since their texts and tracebacks may hold a prompt or a URL.
        with self._tracer.start_as_current_span(
            name, parent, kind, _attributes(facts), links, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield _Recorded(span)
            except Exception as error:
                _Recorded(span).fail(type(error).__name__)
                raise


class _Recorded(Span):
    """A span that is recorded."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def note(self, **facts: AttributeValue) -> None:
        """Add attributes to the span, except for empty texts."""
        self._span.set_attributes(_attributes(facts))

    def fail(self, code: str = "") -> None:
        """Mark the span as failed. It gets no description, since that could contain a customer's text."""
        self.note(code=code)
        self._span.set_status(StatusCode.ERROR)

    def enqueued(self, results: Sequence[EnqueueResult]) -> None:
        """
        Add to the span the kinds of the results, the job if there is one result, and the class of the first error.
        """
        job = results[0].id if len(results) == 1 else ""
        self.note(job=job, result=sorted({one.kind for one in results}))
        if error := next((one.error for one in results if one.error), None):
            self.fail(type(error).__name__)

    def decided(self, outcome: Outcome, decision: Decision) -> None:
        """
        Add to the span the classes of outcome and decision. Also add the code of a failure or retry, or the size of the
        images.
        """
        self.note(outcome=type(outcome).__name__, decision=type(decision).__name__)
        match decision:
            case Fail(code):
                self.fail(code)
            case Retry(_, code):
                self.note(code=code)
            case Succeed(image, others):
                self.note(bytes=sum(one.bytes for one in (image, *others)))

    def answered(self, outcome: Outcome | None, status: int | None, size: int, trouble: str = "") -> None:
        """Add to the span the status and size of an answer, and the class of its outcome."""
        self.note(bytes=size, outcome=type(outcome).__name__ if outcome else "")
        self._add_status(status)
        if trouble or isinstance(outcome, _FAILURES) or (status or 0) >= 400:
            self.fail(trouble)

    def settled(self, settlement: Settlement) -> None:
        """Add to the span the state that follows a delivery attempt, and the status of the receiver's answer."""
        self.note(state=settlement.move)
        self._add_status(settlement.log.status)
        if settlement.move != "delivered":
            self.fail(settlement.log.trouble)

    def _add_status(self, status: int | None) -> None:
        if status is not None:
            self._span.set_attribute("http.response.status_code", status)


class AsLinked(Sampler):
    """
    Samples each span that links to a sampled span; for all other spans, `sampler` decides.

    If the enqueue of a job is kept, all attempts of the job are kept.
    """

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """
        If a linked span was sampled, return the decision to sample. Otherwise return the wrapped sampler's decision.
        """
        is_linked = any(link.context.trace_flags.sampled for link in links or ())
        sampler = ALWAYS_ON if is_linked else self._sampler
        return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        """Return a description that contains the description of the wrapped sampler."""
        return f"AsLinked{{{self._sampler.get_description()}}}"


def exporting(service: str) -> OpenTelemetry:
    """Return a recorder with a tracer provider of its own, which exports as the OTEL_ variables configure it."""
    chosen = exporters(os.environ)
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    # Ours alone, and not the process' global one: FastAPI records the paths of all requests with that, and the paths of
    # our links are credentials. `close` ends it, within bounds.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.sampler = AsLinked(provider.sampler)
    for exporter in chosen:
        provider.add_span_processor(BatchSpanProcessor(exporter()))
    return OpenTelemetry(provider)


def exporters(environment: Mapping[str, str]) -> list[type[SpanExporter]]:
    """
    Return the exporters that `OTEL_TRACES_EXPORTER` names; raise `SettingsError` for an unknown exporter or protocol.
    """
    names = [name.strip() for name in environment.get("OTEL_TRACES_EXPORTER", "").split(",") if name.strip()] or [
        "otlp"
    ]
    if unknown := [name for name in names if name not in (*_EXPORTERS, "none")]:
        raise SettingsError([f"OTEL_TRACES_EXPORTER: expected otlp, console or none, got {unknown[0]!r:.40}"])
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if "otlp" in names and environment.get(name, "http/protobuf") not in ("", "http/protobuf"):
            raise SettingsError([f"{name}: expected http/protobuf, got {environment[name]!r:.40}"])
    return [_EXPORTERS[name] for name in names if name != "none"]


def _attributes(facts: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    return {f"retouch.{name}": value for name, value in facts.items() if value != ""}


def traced_job(job: NewJob, trace: str) -> NewJob:
    """
    Return a job whose spec has the `traceparent` of the span that enqueues it.

    A job without a spec, which only looks up an idempotency key, is returned unchanged.
    """
    # Into the finished text, of which the fingerprint was made: a request is the same one in another trace.
    return job._replace(spec_json=f'{job.spec_json[:-1]},"trace":"{trace}"}}') if job.spec_json else job
