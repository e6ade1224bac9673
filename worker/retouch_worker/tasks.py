"""
The Celery tasks: each runs one attempt. Their only argument is an id.

If the attempt ends with a failed job or a dead delivery, the task raises an exception of ours. Celery then records a
failure, so Flower and every other tool that counts tasks shows it. The exception has no other effect: the task is never
retried, and no traceback is logged (`throws`). In every other case the task succeeds, even if it found nothing to
claim, or if its job or delivery waits for the next attempt.
"""

from __future__ import annotations

from typing import Any

from celery import Celery

from retouch.outcomes import Fail
from retouch.publisher import TASKS
from retouch_worker.deliveries.attempt import run_delivery
from retouch_worker.edits.attempt import run_edit
from retouch_worker.process import WorkerProcess


class JobFailed(Exception):
    """Raised by the Celery task of a job that has failed. The text is the id of the job and the error code."""


class DeliveryDead(Exception):
    """Raised by the Celery task of a delivery that is given up. The text is the id of the delivery and the reason."""


def register(app: Celery, process: WorkerProcess) -> None:
    """Register the two tasks with the Celery app."""

    @app.task(name=TASKS["edits"], bind=True, throws=(JobFailed,))
    def edit(self: Any, job_id: str) -> None:
        if not process.requeue_if_draining(self.request.delivery_info["routing_key"], job_id):
            decision = run_edit(job_id, process.edit_dependencies)
            if isinstance(decision, Fail):
                raise JobFailed(f"{job_id}: {decision.code}")

    @app.task(name=TASKS["deliveries"], throws=(DeliveryDead,))
    def deliver(delivery_id: str) -> None:
        if not process.requeue_if_draining("deliveries", delivery_id):
            settlement = run_delivery(delivery_id, process.delivery_dependencies)
            if settlement and settlement.move == "dead":
                raise DeliveryDead(f"{delivery_id}: {settlement.log.status or settlement.log.trouble}")
