"""
The Celery worker, `celery -A retouch_worker.app worker`. Importing this module makes the Celery app and connects the
worker's parts to it. No other module acts on import.
"""

from __future__ import annotations

import signal
from typing import Any

import structlog
from celery import bootsteps, signals

from retouch.broker import make_app
from retouch.errors import SettingsError
from retouch.settings import Settings
from retouch.store.lanes import LANES
from retouch_worker import broker_guard
from retouch_worker.consumer import BatchingConsumer
from retouch_worker.logs import configure, log
from retouch_worker.process import WorkerProcess, threads_for_deliveries
from retouch_worker.tasks import register

settings = Settings.load()
app = make_app(settings)
app.conf.worker_consumer = BatchingConsumer
process = WorkerProcess(settings)
register(app, process)
broker_guard.install()


class PulseStep(bootsteps.StartStopStep):
    """A step of Celery's start: when Celery's thread pool exists, it configures the lanes and starts the pulse."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **_: object) -> None:
        process.connections = worker.concurrency + 8
        lanes = set(app.amqp.queues.consume_from)
        process.lanes = tuple(lane for lane in LANES if lane in lanes)
        process.threads_for_deliveries = threads_for_deliveries(worker.concurrency, lanes)
        self.takes_edits = "edits" in lanes
        if self.takes_edits:
            _take_edits(worker)

    def start(self, _worker: object) -> None:
        """Configure the lanes and start the pulse."""
        # There is no `stop`: Celery would call it while attempts still run, and their leases need the pulse to the end.
        # This replaces Celery's own handler, which would restart the process and so end its paid calls.
        signal.signal(signal.SIGHUP, lambda *_: process.ask_reload())
        process.start(edits=self.takes_edits)


app.steps["worker"].add(PulseStep)


def _take_edits(worker: Any) -> None:
    try:
        process.take_edits(worker)
    except SettingsError as error:
        log.error("accounts_unusable", reason="; ".join(error.faults))
        raise SystemExit(2) from None


@signals.setup_logging.connect
def _configure_logging(**_: object) -> None:
    configure(settings)


@signals.worker_shutting_down.connect
def _drain_process(**_: object) -> None:
    process.drain()


@signals.worker_shutdown.connect
def _export_last_spans(**_: object) -> None:
    process.tracing.close()


@signals.task_prerun.connect
def _clear_log_context(**_: object) -> None:
    # Threads keep their context variables: what one task bound must not be in the log lines of the next task.
    structlog.contextvars.clear_contextvars()
