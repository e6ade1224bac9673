"""The request and response bodies of `/v1/bulk` and `/v1/audit`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from retouch.store.audit import Surface
from retouch.store.bulk import BulkAction
from retouch_producer.gateway.schemas.edits import Instant, Schema


class BulkRequest(Schema):
    """An action on all jobs that match a query; with `dry_run`, the answer is a preview and nothing changes."""

    action: BulkAction
    query: str = Field(description="Which jobs, such as `state:failed code:spam_filter since:2h`; see docs/queries.md.")
    priority: Literal["high", "normal", "low"] | None = Field(None, description="For the action `priority`.")
    dead: bool = Field(False, description="With `redeliver`: the deliveries alone that gave up.")
    dry_run: bool = Field(False, description="Count what it would do; nothing is changed.")
    tenant: str | None = Field(None, description="The key's own; an ops key may name another.")
    idempotency_key: str | None = Field(None, max_length=255, description="As the header.")


class Preview(Schema):
    """
    The jobs on which the run would act at the time of the request, and the cost.

    `deliveries` counts the deliveries that the action `redeliver` would send. `resume_free` counts the jobs that
    continue from a paid answer and cost nothing. The other jobs may together make `calls_most` calls, which cost
    `amount_most`. `is_complete` is false if counting stopped at 100,000 jobs or after 10 s.
    """

    jobs: int
    deliveries: int
    resume_free: int
    calls_most: int
    amount_most: float
    is_complete: bool


class Actor(Schema):
    """
    Who made a change, through which surface and with which key.

    Without a key, a person used Redis directly. If the surface is `worker`, a worker made the change after an answer of
    the endpoint.
    """

    surface: Surface
    key: str
    name: str
    role: str


class BulkLinks(Schema):
    """The addresses of a run: `self` returns the run, and `abort` aborts it."""

    self: str
    abort: str


class BulkRun(Schema):
    """
    A bulk run. Its `query` does not match jobs that are enqueued later.

    `matched` counts the jobs that the run has read so far. `acted_on` counts the jobs on which it has acted, or the
    deliveries if the action is `redeliver`. `outcomes` has the same count, split by outcome.
    """

    id: str
    tenant: str
    state: Literal["queued", "running", "done", "aborted"]
    action: BulkAction
    query: str
    priority: Literal["high", "normal", "low"] | None
    dead: bool
    by: Actor
    preview: Preview
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    matched: int
    acted_on: int
    outcomes: dict[str, int]
    links: BulkLinks


class BulkPage(Schema):
    """The newest bulk runs of the last 90 days; at most 200 of each tenant are kept."""

    data: list[BulkRun]


class BulkPreview(Schema):
    """The preview of a run that was not started; nothing was changed."""

    action: BulkAction
    query: str
    preview: Preview


class BulkAborted(Schema):
    """The outcome of an abort: `aborted`, or `final` if the run was over already."""

    outcome: Literal["aborted", "final"]
    run: BulkRun


class AuditLine(Schema):
    """One change: who did what, to which ids or query, and with which outcome."""

    id: str
    at: Instant
    action: str
    by: Actor
    tenant: str
    details: dict[str, Any]


class AuditPage(Schema):
    """Changes, newest first; pass `next_cursor` as `cursor` for the next page."""

    data: list[AuditLine]
    has_more: bool
    next_cursor: str | None
