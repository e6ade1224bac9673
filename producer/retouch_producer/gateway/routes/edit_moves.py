"""The changes of one job: `/cancel`, `/replay`, `/approve` and `/unapprove`."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from retouch.store.tenants import ApiKey
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import Caller, actor_of
from retouch_producer.gateway.http.errors import problem_responses
from retouch_producer.gateway.moves.jobs import Move, mark_job, move_job
from retouch_producer.gateway.schemas.edits import StateChange

router = APIRouter(prefix="/v1/edits/{job_id}", tags=["edits"])


@router.post(
    "/cancel",
    operation_id="cancel_edit",
    response_model=StateChange,
    responses=problem_responses(401, 404, 422, 503),
)
def cancel(job_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """
    Cancel a job.

    The outcome is `cancelled`, or `final` if the job had ended before. It is `requested` if a call is in flight, which
    may still cost money.
    """
    return _moved("cancel", job_id, key, dependencies)


@router.post(
    "/replay",
    operation_id="replay_edit",
    response_model=StateChange,
    responses=problem_responses(401, 404, 409, 422, 429, 503),
)
def replay(job_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """
    Replay a failed or cancelled job, which may cost again.

    The answer is 409 for any other job, and 429 if the backlog is full.
    """
    return _moved("replay", job_id, key, dependencies)


@router.post(
    "/approve",
    operation_id="approve_edit",
    response_model=StateChange,
    responses=problem_responses(401, 404, 409, 422, 503),
)
def approve(job_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """
    Mark the result of a job as approved, by the holder of this key and now.

    A result that is approved keeps its mark, with the outcome `unchanged`. The answer is 409 unless the job has
    succeeded.
    """
    return _marked(job_id, key, dependencies, approved=True)


@router.post(
    "/unapprove",
    operation_id="unapprove_edit",
    response_model=StateChange,
    responses=problem_responses(401, 404, 409, 422, 503),
)
def unapprove(job_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """Take the mark of an approved result back. The answer is 409 unless the job has succeeded."""
    return _marked(job_id, key, dependencies, approved=False)


def _moved(move: Move, job_id: str, key: ApiKey, dependencies: Dependencies) -> JSONResponse:
    outcome = move_job(dependencies, actor_of(key), move, dependencies.record(job_id, key))
    return _changed(outcome, job_id, key, dependencies)


def _marked(job_id: str, key: ApiKey, dependencies: Dependencies, *, approved: bool) -> JSONResponse:
    outcome = mark_job(dependencies, actor_of(key), dependencies.record(job_id, key), approved=approved)
    return _changed(outcome, job_id, key, dependencies)


def _changed(outcome: str, job_id: str, key: ApiKey, dependencies: Dependencies) -> JSONResponse:
    return JSONResponse({"outcome": outcome, "job": dependencies.job_document(dependencies.record(job_id, key))})
