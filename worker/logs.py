"""
Logging of a worker: one line per event, as text or JSON, with ids and never a prompt, URL, key or secret.

Every event has its heading in `docs/runbook.md`.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from retouch.settings import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger("retouch")

_QUIET = ("celery.worker.strategy", "celery.app.trace", "kombu", "urllib3", "amqp")


def configure(settings: Settings) -> None:
    """Send the process' log to standard error, ours and the libraries', in the form that the settings name."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[Any] = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, stamp]
    renderer = structlog.processors.JSONRenderer() if settings.log_format == "json" else structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty()
    )  # fmt: skip
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    ))  # fmt: skip
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
