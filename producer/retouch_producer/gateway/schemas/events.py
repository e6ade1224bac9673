"""Response bodies about what happened to jobs, as OpenAPI describes them: events, deliveries, timelines."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

from retouch.options import StateName
from retouch.states import DeliveryState
from retouch_producer.documents import Document
from retouch_producer.gateway.schemas.edits import ChargeEntry, Charges, Error, EventType, Instant, Job, Result, Schema

DeliveryStateName = Literal["queued", "running", "retrying", "delivered", "dead"]
# A value that is missing in one of the two sets would be refused here, or missing in the description.
assert {*get_args(DeliveryStateName)} == {*DeliveryState}


class EventData(Schema):
    """The job as it was at the event. `sequence` counts the job's events from 0; `result` is the first of `results`."""

    job_id: str
    sequence: int
    state: StateName
    tenant: str
    tags: dict[str, str]
    edit: Document
    result: Result | None
    results: list[Result]
    error: Error | None
    cancelled: Literal["before_charge", "after_charge"] | None
    charges: Charges
    timings_s: dict[Literal["queued", "endpoint", "total"], float | None]


class Event(Schema):
    """The event object: the body of a webhook, and the data of a server-sent event."""

    type: EventType
    timestamp: Instant
    data: EventData


class FeedEvent(Event):
    """An event in the feed. `id` is the webhook-id of its deliveries, and `cursor` is its position in the feed."""

    id: str
    cursor: str


class FeedPage(Schema):
    """
    Events after a cursor, oldest first. `next_cursor` is set on an empty page too.

    If `has_more` is true, read the next page at once.
    """

    data: list[FeedEvent]
    has_more: bool
    next_cursor: str


class DeliveryAttempt(BaseModel):
    """
    One delivery attempt: its time, its HTTP status or trouble, how long it took, and the time of the next attempt.
    """

    model_config = ConfigDict(extra="allow")
    at: Instant


class Delivery(Schema):
    """One event that must reach one receiver, with every attempt, oldest first."""

    id: str
    job_id: str
    sequence: int
    type: EventType
    receiver: str
    tenant: str
    state: DeliveryStateName
    attempt: int
    created_at: Instant | None
    due_at: Instant | None
    finished_at: Instant | None
    attempts: list[DeliveryAttempt]


class DeliveryPage(Schema):
    """Deliveries, newest first."""

    data: list[Delivery]
    has_more: bool
    next_cursor: str | None


class RawAnswer(Schema):
    """
    The endpoint's last answer to a job as it came, with API keys masked.

    `text` has up to 4 kB of the body, and `cut` is true if the body was longer. `fence` belongs to the charge that got
    this answer.
    """

    fence: int
    status: int
    text: str
    cut: bool


class JobWait(Schema):
    """
    Why a job that is not over waits, in words for people.

    `binding` is the limit that causes the wait. `position` counts the waiting jobs of all tenants, from 1. Both are
    null for a job that does not wait in the backlog, and the estimates where nobody can know.
    """

    reason: str
    position: int | None
    binding: str | None
    estimated_start_at: Instant | None
    estimated_end_at: Instant | None


class Timeline(Schema):
    """
    Everything on record about a job. `raw_answer` is null while no answer is on record, and `wait` if the job is over.
    """

    job: Job
    wait: JobWait | None
    events: list[Event]
    charges: list[ChargeEntry]
    raw_answer: RawAnswer | None
    deliveries: list[Delivery]
