"""The wire shapes of `/v1/bulk` and `/v1/audit`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from retouch.store.bulk import BulkAction
from retouch_producer.gateway.schemas.edits import Instant, Shape


class BulkRequest(Shape):
    """An action on all jobs that fit a query; with `dry_run` only a preview."""

    action: BulkAction
    query: str = Field(description="Which jobs, such as `state:failed code:spam_filter since:2h`; see docs/queries.md.")
    priority: Literal["high", "normal", "low"] | None = Field(None, description="For the action `priority`.")
    dead: bool = Field(False, description="With `redeliver`: the deliveries alone that gave up.")
    dry_run: bool = Field(False, description="Count what it would do; nothing is changed.")
    tenant: str | None = Field(None, description="The key's own; an ops key may name another.")
    idempotency_key: str | None = Field(None, max_length=255, description="As the header.")


class Preview(Shape):
    """
    What a run would do when it was asked for: `jobs` (and `deliveries`, with `redeliver`), of which `resume_free` go on
    from an answer that is paid for; the others may make `calls_most` calls for `amount_most`. `is_complete` is false
    where counting stopped at 100,000 jobs.
    """

    jobs: int
    deliveries: int
    resume_free: int
    calls_most: int
    amount_most: float
    is_complete: bool


class Actor(Shape):
    """Who asked for a change: by which surface, with which key; `key` is empty for a person at Redis itself."""

    surface: Literal["cli", "http", "python", "console"]
    key: str
    name: str
    role: str


class BulkLinks(Shape):
    """Where a run is, and what aborts it."""

    self: str
    abort: str


class BulkRun(Shape):
    """
    A bulk run. `query` is frozen: jobs that are enqueued later are not meant.

    `matched` counts the jobs that were looked at so far, `acted_on` the jobs (with `redeliver` deliveries) that
    something came of, and `outcomes` what.
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


class BulkPage(Shape):
    """The newest bulk runs of 90 days; 200 of a tenant are kept."""

    data: list[BulkRun]


class BulkPreview(Shape):
    """What a run would do now; nothing was changed."""

    action: BulkAction
    query: str
    preview: Preview


class BulkAborted(Shape):
    """What an abort came to; `final`: it was over already."""

    outcome: Literal["aborted", "final"]
    run: BulkRun


class AuditLine(Shape):
    """One change: who did what, to which ids or query, and what came of it."""

    id: str
    at: Instant
    action: str
    by: Actor
    tenant: str
    details: dict[str, Any]


class AuditPage(Shape):
    """Changes, newest first; pass `next_cursor` as `cursor` for the next page."""

    data: list[AuditLine]
    has_more: bool
    next_cursor: str | None
