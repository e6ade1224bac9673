"""
Logging of a worker: one line for each event, as text or JSON. A line has ids, and never a prompt, URL, key or secret.

`docs/runbook.md` has a heading for every event.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from retouch.settings import Settings

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("retouch")

_QUIET = ("celery.worker.strategy", "celery.app.trace", "kombu", "urllib3", "amqp")


def configure(settings: Settings) -> None:
    """
    Write our log lines and those of libraries to standard error, as text or JSON as the settings say.

    Our own lines bypass `logging`, which would double their cost.
    """
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shared: list[Processor] = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, stamp]
    renderers = _renderers(settings)
    structlog.configure(
        processors=[*shared, *renderers],
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    without_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    formatter = structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[without_meta, *renderers])
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # At every reconnection Celery recommends the other value of this option; retouch/broker.py says why we keep ours.
    logging.getLogger("py.warnings").addFilter(
        lambda record: "worker_cancel_long_running_tasks_on_connection_loss" not in record.getMessage()
    )


def _renderers(settings: Settings) -> list[Processor]:
    """Return the processors that turn an event into a line; they are the last in the chain."""
    if settings.log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    # structlog's own tracebacks show local variables, which may be prompts or secrets.
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
