"""
Shows one job: the pictures, the timeline, the charges, and the reason for a wait. Also cancels, replays and approves
the job.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Form, Request, Response

from retouch.events import charge_summary
from retouch.states import JobState
from retouch.store.accounts import highest_price
from retouch.store.answers import RawAnswer
from retouch.store.deliveries import DeliveryRecord
from retouch.store.input_runs import other_runs
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch_producer.findings.job_wait import wait_of
from retouch_producer.gateway.console.changes import actor_of
from retouch_producer.gateway.console.job_timeline import steps_of
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router, done
from retouch_producer.gateway.console.sign_in import own_path
from retouch_producer.gateway.console.visitors import Acting, SignedIn, Visitor
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.moves.jobs import REPLAYABLE, Move, mark_job, move_job

DELIVERIES_MOST, RUNS_MOST = 100, 12
View = Literal["slider", "beside", "difference"]
VIEWS: tuple[tuple[View, str], ...] = (("slider", "Slider"), ("beside", "Side by side"), ("difference", "Difference"))

router = console_router()


@dataclass(frozen=True, slots=True)
class ReplayCost:
    """
    The cost of a replay: at most `at_most` POSTs, each of which costs at most `price`.

    If `is_free` is true, the replay continues from a paid answer and needs no POST.
    """

    at_most: int
    price: float
    is_free: bool


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """
    The endpoint's raw answer as the page shows it. JSON is indented, unless the answer was cut.

    `posted_at` is the time of the POST that the answer belongs to, in Unix seconds. It is None if the charge log no
    longer has this POST.
    """

    status: int
    text: str
    is_cut: bool
    posted_at: float | None


@router.get("/jobs/{job_id}")
def show_job(
    request: Request, job_id: str, visitor: SignedIn, dependencies: Injected, image: int = 0, view: View = "slider"
) -> Response:
    """Show everything on record about one job."""
    record = dependencies.record(job_id, visitor.key)
    price = dependencies.settings.price_per_call
    with clear_errors():
        price_at_most = highest_price(dependencies.client, [record.spec.tenant], price)
        deliveries = dependencies.connections.deliveries.of_job(job_id)[:DELIVERIES_MOST]
        steps = steps_of(record, dependencies.connections.jobs.timeline(job_id), deliveries)
        wait = wait_of(record, dependencies.connections)
        raw = dependencies.connections.jobs.raw_answer(job_id)
        runs = other_runs(dependencies.connections.jobs, record, RUNS_MOST)
        max_charges = int(record.spec.policy.get("max_charges") or dependencies.settings.max_charges)
    return page(
        request,
        "job.html",
        visitor,
        record=record,
        image=min(max(image, 0), max(len(record.images) - 1, 0)),
        deliveries=_by_receiver(deliveries),
        view=view,
        views=VIEWS,
        runs=runs,
        steps=steps,
        wait=wait,
        is_final=JobState(record.state).is_final,
        replay=ReplayCost(max_charges, price_at_most, record.resumable) if record.state in REPLAYABLE else None,
        charges=charge_summary(record.charges, price),
        max_charges=max_charges,
        max_attempts=record.spec.policy.get("max_attempts") or dependencies.settings.max_attempts,
        price=price_at_most,
        raw=_raw_answer(raw, record) if raw else None,
        done=request.query_params.get("done", ""),
    )


def _raw_answer(raw: RawAnswer, record: JobRecord) -> ShownAnswer:
    posted_at = next((charge.intent_at for charge in record.charges if charge.fence == raw.fence), None)
    try:
        text = raw.text if raw.is_cut else json.dumps(json.loads(raw.text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = raw.text
    return ShownAnswer(raw.status, text, raw.is_cut, posted_at)


def _by_receiver(deliveries: list[DeliveryRecord]) -> list[DeliveryRecord]:
    return sorted(deliveries, key=lambda delivery: (delivery.receiver, delivery.sequence))


@router.post("/jobs/{job_id}/cancel")
def cancel(job_id: str, visitor: Annotated[Visitor, Depends(Acting("cancel"))], dependencies: Injected) -> Response:
    """
    Cancel a job. A waiting job ends at once.

    A job with a call in flight ends after this call, which may cost money.
    """
    return _moved("cancel", job_id, visitor, dependencies)


@router.post("/jobs/{job_id}/replay")
def replay(job_id: str, visitor: Annotated[Visitor, Depends(Acting("replay"))], dependencies: Injected) -> Response:
    """Replay a failed or cancelled job, which may cost again."""
    return _moved("replay", job_id, visitor, dependencies)


@router.post("/jobs/{job_id}/approve")
def approve(
    job_id: str,
    visitor: Annotated[Visitor, Depends(Acting("approve"))],
    dependencies: Injected,
    approved: Annotated[Literal["yes", "no"], Form()] = "yes",
    back: Annotated[str, Form()] = "",
) -> Response:
    """
    Mark the result of a job as approved, or take the mark back.

    The answer leads to the job, or to its picture on the contact sheet `back`.
    """
    record = dependencies.record(job_id, visitor.key)
    outcome = mark_job(dependencies, actor_of(visitor.key), record, approved=approved == "yes")
    return done(f"{own_path(back)}#{job_id}") if back else done(f"/console/jobs/{job_id}", outcome)


def _moved(move: Move, job_id: str, visitor: Visitor, dependencies: Dependencies) -> Response:
    outcome = move_job(dependencies, actor_of(visitor.key), move, dependencies.record(job_id, visitor.key))
    return done(f"/console/jobs/{job_id}", outcome)
