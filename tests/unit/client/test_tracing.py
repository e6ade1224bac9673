"""Traces without a collector: how many bytes they add to a job, which spans are sampled, and which exporters exist."""

from __future__ import annotations

from dataclasses import replace

import pytest
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Decision
from opentelemetry.trace import Link, SpanContext, TraceFlags

from retouch.errors import SettingsError
from retouch.settings import Settings
from retouch.store.jobs import NewJob
from retouch.store.records import JobSpec
from retouch.tracing import OFF, open_tracing
from retouch.tracing.otel import AsLinked, exporters, traced_job

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
KEPT, DROPPED = Decision.RECORD_AND_SAMPLE, Decision.DROP


def test_a_job_without_traces_costs_nothing() -> None:
    """While traces are off, jobs are enqueued unchanged, and no header is added."""
    tracing = open_tracing(Settings())
    jobs = [NewJob("ed_1", JobSpec("acme", {}, 60.0).to_json(), "acme", "normal", 60.0)]
    with tracing.enqueue(jobs) as (traced, _):
        assert traced is jobs
        assert tracing.headers() == {}
    assert tracing is OFF
    assert "trace" not in jobs[0].spec_json


def test_a_trace_is_in_the_spec() -> None:
    """The trace adds 66 bytes to a spec and is read from it. A job without a spec gets no trace."""
    spec = JobSpec("acme", {"prompt": 'a } and a "', "steps": 20}, 60.0, tags={"order": "17"}).to_json()
    job = NewJob("ed_1", spec, "acme", "normal", 60.0)
    text = traced_job(job, TRACE).spec_json
    assert JobSpec.from_json(text) == replace(JobSpec.from_json(spec), trace=TRACE)
    assert len(text) - len(spec) == 66
    assert traced_job(job._replace(spec_json=""), TRACE).spec_json == ""


@pytest.mark.parametrize(("sampled", "kept"), [(True, KEPT), (False, DROPPED)])
def test_attempts_are_kept_with_their_enqueue(sampled: bool, kept: Decision) -> None:
    """A span with a link to a sampled span is always sampled. For every other span, the root sampler decides."""
    context = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED if sampled else 0))
    links = [Link(context)]
    assert AsLinked(ALWAYS_OFF).should_sample(None, 3, "retouch.attempt", links=links).decision is kept
    assert AsLinked(ALWAYS_ON).should_sample(None, 3, "retouch.attempt", links=links).decision is KEPT
    assert AsLinked(ALWAYS_OFF).should_sample(None, 3, "retouch.enqueue").decision is DROPPED


def test_exporters() -> None:
    """
    `exporters` returns the exporters that `OTEL_TRACES_EXPORTER` names, an empty list for "none", and OTLP by default.
    """
    assert [kind.__name__ for kind in exporters({})] == ["OTLPSpanExporter"]
    assert exporters({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) == []
    assert exporters({"OTEL_TRACES_EXPORTER": "console"}) == [ConsoleSpanExporter]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("OTEL_TRACES_EXPORTER", "otlp, zipkin", "expected otlp, console or none, got 'zipkin'"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "expected http/protobuf, got 'grpc'"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "expected http/protobuf, got 'http/json'"),
    ],
)
def test_an_exporter_that_we_do_not_have(name: str, value: str, expected: str) -> None:
    """A variable that names an unknown exporter or protocol raises SettingsError with the accepted values."""
    with pytest.raises(SettingsError) as error:
        exporters({name: value})
    assert error.value.faults == [f"{name}: {expected}"]
