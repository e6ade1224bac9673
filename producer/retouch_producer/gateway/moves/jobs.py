"""Cancels, replays and approves one job, for the API and for the console."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from retouch.states import JobState
from retouch.store.audit import CHANGES, Actor
from retouch.store.jobs import queue_full
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.store.scripts import Message
from retouch_producer.gateway.dependencies import Dependencies
from retouch_producer.gateway.http.errors import ProblemError, not_found

Move = Literal["cancel", "replay"]
REPLAYABLE = frozenset({JobState.FAILED, JobState.CANCELLED})


def move_job(dependencies: Dependencies, actor: Actor, move: Move, record: JobRecord) -> str:
    """
    Cancel or replay a job, and return the outcome. Write it into the audit if the job was changed.

    Raises `conflict` for a replay of a job that is neither failed nor cancelled, and `QueueFull` if the tenant has no
    room.
    """
    if move == "replay" and record.state not in REPLAYABLE:
        raise ProblemError("conflict", f"the job is {record.state}; only a failed or cancelled job can be replayed")
    jobs = dependencies.connections.jobs
    moves: dict[Move, Callable[[str], tuple[str, list[Message]]]] = {"cancel": jobs.cancel, "replay": jobs.replay}
    with clear_errors():
        outcome, messages = moves[move](record.id)
    kind, _, reason = outcome.partition(" ")
    if kind == "unknown":
        raise not_found("job")
    if kind == "full":
        raise queue_full(record.spec.tenant, reason)
    dependencies.connections.publisher.publish(messages)
    _note(dependencies, actor, f"edit.{move}", record, kind)
    return kind


def mark_job(dependencies: Dependencies, actor: Actor, record: JobRecord, *, approved: bool) -> str:
    """
    Mark the result of a job as approved, or take the mark back, and return the outcome. Write it into the audit if the
    mark was changed.

    Raises `conflict` for a job that has not succeeded.
    """
    approvals = dependencies.connections.approvals
    with clear_errors():
        outcome = approvals.approve(record.id, actor.label) if approved else approvals.unapprove(record.id)
    if outcome == "unknown":
        raise not_found("job")
    if outcome == "no_result":
        raise ProblemError("conflict", f"the job is {record.state}; only the result of a succeeded job can be approved")
    _note(dependencies, actor, "edit.approve" if approved else "edit.unapprove", record, outcome)
    return outcome


def _note(dependencies: Dependencies, actor: Actor, action: str, record: JobRecord, outcome: str) -> None:
    if outcome in CHANGES:
        with clear_errors():
            dependencies.audit.record(actor, action, record.spec.tenant, ids=[record.id], outcome=outcome)
