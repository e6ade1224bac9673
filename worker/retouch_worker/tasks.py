"""The two Celery tasks. Each runs one attempt; its only argument is an id."""

from __future__ import annotations

from typing import Any

from celery import Celery

from retouch.publisher import TASKS
from retouch_worker.deliveries.attempt import run_delivery
from retouch_worker.edits.attempt import run_edit
from retouch_worker.process import WorkerProcess


def register(app: Celery, process: WorkerProcess) -> None:
    """Register the two tasks with the Celery app."""

    @app.task(name=TASKS["edits"], bind=True)
    def edit(self: Any, job_id: str) -> None:
        if not process.requeue_if_draining(self.request.delivery_info["routing_key"], job_id):
            run_edit(job_id, process.edit_tools)

    @app.task(name=TASKS["deliveries"])
    def deliver(delivery_id: str) -> None:
        if not process.requeue_if_draining("deliveries", delivery_id):
            run_delivery(delivery_id, process.delivery_tools)
