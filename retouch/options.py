"""The options of a job as keyword arguments of `EditQueue`, typed for type checkers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

DEFAULT_TENANT = "default"

Priority = Literal["high", "normal", "low"]
"""In the backlog, a job with `high` is treated as ten minutes older, a job with `low` as ten minutes younger."""

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
"""The events that a webhook or callback can get. It always gets the first three."""


class JobOptions(TypedDict, total=False):
    """
    The options of a job: how it runs, and who gets its events. If an option is left out, the default in the settings
    applies.

    Within 24 h, the same request with the same `idempotency_key` returns the same job. `deadline_s` is in seconds from
    enqueueing. `max_attempts` bounds the attempts, `max_charges` the POSTs that may have been billed. `webhook` is a
    URL, and `callback` is an allow-listed Celery task. Both get the final events and the events that `events` names.
    Every event contains the `tags`.
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
