"""The options of a job by name and type, as callers of `EditQueue` write them and type checkers hold them to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

Priority = Literal["high", "normal", "low"]
"""`high` is worth ten minutes of age in the backlog, `low` costs ten."""

StateName = Literal["queued", "running", "polling", "retrying", "succeeded", "failed", "cancelled"]
"""The states of a job; see `JobState`."""

EventName = Literal[
    "edit.succeeded",
    "edit.failed",
    "edit.cancelled",
    "edit.running",
    "edit.retrying",
    "edit.recovered",
    "edit.adopted",
    "edit.replayed",
]
"""What a webhook or callback may hear of; the first three always."""


class JobOptions(TypedDict, total=False):
    """
    How a job is to be run and who is to hear of it; what is left out takes the setting's default.

    `idempotency_key`: within 24 h the same request with it gives the same job. `deadline_s` counts from enqueueing,
    in seconds; `max_attempts` bounds the runs, `max_charges` the POSTs that may have been billed. `webhook` is a URL,
    `callback` an allow-listed Celery task, `events` what they hear of beside the final events; `tags` come back in
    every event.
    """

    idempotency_key: str | None
    priority: Priority
    tenant: str
    deadline_s: float | None
    max_attempts: int | None
    max_charges: int | None
    webhook: str | None
    callback: str | None
    events: Sequence[EventName]
    tags: Mapping[str, str]
