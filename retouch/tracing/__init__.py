"""Traces: enqueues, attempts, calls of the endpoint and deliveries as spans of OpenTelemetry; see docs/traces.md."""

from __future__ import annotations

from retouch.settings import Settings
from retouch.tracing.interface import OFF, Span, Tracing

__all__ = ["OFF", "Span", "Tracing", "open_tracing"]


def open_tracing(settings: Settings, service: str = "") -> Tracing:
    """
    Return the object that records spans. While `settings.traces` is off, it records nothing and loads nothing.

    `service` is the name of one of our programs: its spans are exported as the OTEL_ variables configure it. If
    `service` is empty, we are a library, and the application's own tracer provider gets the spans. Raise
    `SettingsError` if an OTEL_ variable names an exporter or a protocol that we do not support.
    """
    if not settings.traces:
        return OFF
    # Imported here: it loads OpenTelemetry.
    from retouch.tracing.otel import OpenTelemetry, exporting

    return exporting(service) if service else OpenTelemetry()
