"""The page of one job: pictures, why it waits, timeline, charges; and its actions, cancel and replay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from retouch.events import charge_summary
from retouch.states import JobState
from retouch.store.deliveries import DeliveryRecord
from retouch.store.jobs import queue_full
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.store.scripts import Message
from retouch_producer.gateway.console.changes import record_change
from retouch_producer.gateway.console.job_timeline import steps_of
from retouch_producer.gateway.console.job_wait import wait_of
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router, done
from retouch_producer.gateway.console.visitors import Acting, Action, SignedIn, Visitor
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.errors import ProblemError, not_found

DELIVERIES_MOST = 100
_REPLAYABLE = (JobState.FAILED, JobState.CANCELLED)

router = console_router()


@dataclass(frozen=True, slots=True)
class ReplayCost:
    """The cost of a replay: `at_most` POSTs, or none if the paid answer on record still leads to the image."""

    at_most: int
    is_free: bool


@router.get("/jobs/{job_id}")
def show_job(request: Request, job_id: str, visitor: SignedIn, dependencies: Injected, image: int = 0) -> Response:
    """Show everything on record about one job."""
    record = dependencies.record(job_id, visitor.key)
    price = dependencies.settings.price_per_call
    with clear_errors():
        deliveries = dependencies.connections.deliveries.of_job(job_id)[:DELIVERIES_MOST]
        steps = steps_of(record, dependencies.connections.jobs.timeline(job_id), deliveries)
        wait = wait_of(record, dependencies.connections)
    return page(
        request,
        "job.html",
        visitor,
        record=record,
        image=min(max(image, 0), max(len(record.images) - 1, 0)),
        deliveries=_by_receiver(deliveries),
        steps=steps,
        wait=wait,
        is_final=JobState(record.state).is_final,
        replay=_replay_cost(record, dependencies) if record.state in _REPLAYABLE else None,
        charges=charge_summary(record.charges, price),
        max_charges=record.spec.policy.get("max_charges") or dependencies.settings.max_charges,
        max_attempts=record.spec.policy.get("max_attempts") or dependencies.settings.max_attempts,
        price=price,
        done=request.query_params.get("done", ""),
    )


def _by_receiver(deliveries: list[DeliveryRecord]) -> list[DeliveryRecord]:
    return sorted(deliveries, key=lambda delivery: (delivery.receiver, delivery.sequence))


def _replay_cost(record: JobRecord, dependencies: Dependencies) -> ReplayCost:
    most = record.spec.policy.get("max_charges") or dependencies.settings.max_charges
    return ReplayCost(int(most), record.resumable)


@router.post("/jobs/{job_id}/cancel")
def cancel(job_id: str, visitor: Annotated[Visitor, Depends(Acting("cancel"))], dependencies: Injected) -> Response:
    """Cancel a job: at once if it waits. A job whose call is under way ends with that call, which may cost."""
    return _moved(
        dependencies, visitor, "cancel", dependencies.record(job_id, visitor.key), dependencies.connections.jobs.cancel
    )


@router.post("/jobs/{job_id}/replay")
def replay(job_id: str, visitor: Annotated[Visitor, Depends(Acting("replay"))], dependencies: Injected) -> Response:
    """Put a dead letter back, which may cost again."""
    record = dependencies.record(job_id, visitor.key)
    if record.state not in _REPLAYABLE:
        raise ProblemError("conflict", f"the job is {record.state}; only a failed or cancelled one is replayed")
    return _moved(dependencies, visitor, "replay", record, dependencies.connections.jobs.replay)


def _moved(
    dependencies: Dependencies,
    visitor: Visitor,
    action: Action,
    record: JobRecord,
    move: Callable[[str], tuple[str, list[Message]]],
) -> Response:
    with clear_errors():
        outcome, messages = move(record.id)
    kind, _, reason = outcome.partition(" ")
    if kind == "unknown":
        raise not_found("job")
    if kind == "full":
        raise queue_full(record.spec.tenant, reason)
    dependencies.connections.publisher.publish(messages)
    record_change(dependencies, visitor, action, record.spec.tenant, ids=[record.id], outcome=kind)
    return done(f"/console/jobs/{record.id}", kind)
