"""
The wire shapes of `/v1`: what goes in and what comes out, as OpenAPI describes them.

What comes in is judged by `Edit` and `retouch.admission`, whose messages name value and range; the request models here
say the same for readers of the schema. Instants are ISO 8601 in UTC, durations seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from retouch.options import EventName, Priority, StateName
from retouch.states import EVENTS, DeliveryState, JobState
from retouch_producer.documents import Document

BATCH_MOST = 1_000
PAGE_MOST = 1_000

Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
EventType = Literal["edit.queued", EventName]
DeliveryStateName = Literal["queued", "running", "retrying", "delivered", "dead"]
# A value that is added to one of these sets alone would be refused, or missing from the description.
assert {*get_args(StateName)} == {*JobState}
assert {*get_args(EventType)} == {*EVENTS, "edit.queued"}
assert {*get_args(DeliveryStateName)} == {*DeliveryState}


class Shape(BaseModel):
    """What all shapes share: nothing undocumented goes in or out."""

    model_config = ConfigDict(extra="forbid")


_EXAMPLE: Document = {
    "prompt": "make him woman",
    "init_image": "https://example.com/in.png",
    "image_guidance_scale": 1,
    "steps": 50,
    "guidance_scale": 7,
    "tags": {"order": "17"},
}


class EditRequest(Shape):
    """One edit to enqueue: the endpoint's fields, then how it is to be run and who is told."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    prompt: str = Field(min_length=1, max_length=10_000, description="What to change.")
    init_image: str = Field(description="http(s) URL of the picture; a link from /v1/uploads will do.")
    image_guidance_scale: float = Field(1, ge=1, le=8)
    steps: int = Field(20, ge=1, le=50)
    guidance_scale: float = Field(7, ge=1, le=20)
    extra: Document = Field(default_factory=dict, description="Passed on to the endpoint as it is.")
    priority: Priority = "normal"
    deadline_s: float | None = Field(None, gt=0, le=30 * 86_400, description="Longest life of the job.")
    max_attempts: int | None = Field(None, ge=1, le=100, description="Total runs, counted from 1.")
    max_charges: int | None = Field(None, ge=1, le=10, description="Most POSTs that may have been billed.")
    webhook: str | None = Field(None, description="URL that is told of the end of this job.")
    callback: str | None = Field(None, description="An allow-listed Celery task that is told.")
    events: list[EventType] = Field(default_factory=list, description="What they hear of beside the end.")
    tags: dict[str, str] = Field(default_factory=dict, description="Come back in every event; 20 at most.")
    tenant: str | None = Field(None, description="The key's own; an ops key may name another.")
    idempotency_key: str | None = Field(None, max_length=255, description="As the header; in a batch, the item's.")


class BatchRequest(Shape):
    """Up to 1,000 edits; each is accepted or refused on its own."""

    edits: list[EditRequest] = Field(min_length=1, max_length=BATCH_MOST)


class Fault(Shape):
    """One thing that is wrong with a request; `field` is a path such as `edits[3].prompt`."""

    field: str
    message: str


class Problem(Shape):
    """
    RFC 9457 problem details, `application/problem+json`.

    `type` is stable, and a page. `retryable`: the same request may succeed unchanged. `charged`: whether this request
    may have cost money; null is not known, and repeating it with the same idempotency key is safe.
    """

    type: str = Field(examples=["/problems/invalid-request"])
    title: str
    status: int
    detail: str
    retryable: bool
    charged: bool | None
    faults: list[Fault]
    retry_after_s: float | None = Field(None, description="With 429 and 503: when to try again; as Retry-After.")


class Charges(Shape):
    """`certain` POSTs were billed, `possible` ones may have been; `amount` is what those cost at most."""

    certain: int
    possible: int
    amount: float


class ChargeEntry(Shape):
    """One POST to the endpoint; `class` is null while its answer is not known, `fence` the number of its lease."""

    fence: int
    at: Instant
    answered_at: Instant | None
    klass: str | None = Field(alias="class")
    certain: bool
    possible: bool


class Result(Shape):
    """An edited image. Links are minted for this answer and expire; `bytes` is the file's size."""

    url: str
    thumbnail_url: str
    sha256: str
    width: int
    height: int
    bytes: int
    format: Literal["PNG", "JPEG", "WEBP"]
    warnings: list[str]


class Error(Shape):
    """Why a job has no image; `code` is stable, `message` is for people, `retryable`: a replay may help."""

    code: str
    message: str
    retryable: bool


class Links(Shape):
    """Where the rest of a job is; relative to the gateway. `input` is null where the input was not kept."""

    self: str
    image: str
    thumbnail: str
    input: str | None
    timeline: str
    events: str
    cancel: str
    replay: str


class Job(Shape):
    """
    One job.

    `replayed`: an idempotency key led to a job that was enqueued before. `shared`: an exact duplicate did. `edit` is
    what the endpoint is sent; `input` names the kept copy of the picture that came in, under `/files/`.
    `max_attempts` and `max_charges` are null where the workers' settings hold. `resumable`: an answer that is paid for
    is on record, so that a replay costs nothing. `results` holds every image of the endpoint's answer, `result` is the
    first.
    """

    id: str = Field(examples=["ed_0199c2f3a4b0a1b2c3d4e5f6"])
    state: StateName
    tenant: str
    priority: Priority
    tags: dict[str, str]
    edit: Document
    input: str | None
    deadline_s: float
    max_attempts: int | None
    max_charges: int | None
    attempt: int
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    due_at: Instant | None
    result: Result | None
    results: list[Result]
    error: Error | None
    cancelled: Literal["before_charge", "after_charge"] | None
    cancel_requested: bool
    resumable: bool
    charges: Charges
    charge_log: list[ChargeEntry]
    receivers: list[str]
    events: list[EventType]
    callback: str | None
    replayed: bool
    shared: bool
    links: Links


class JobPage(Shape):
    """Jobs, newest first; pass `next_cursor` as `cursor` for the next page."""

    data: list[Job]
    has_more: bool
    next_cursor: str | None


class BatchItem(Shape):
    """What became of one item of a batch, at its place: `id` and `url`, or `problem`. `status` as if it came alone."""

    index: int
    status: int
    id: str | None
    url: str | None
    replayed: bool
    shared: bool
    problem: Problem | None


class BatchAnswer(Shape):
    """One item for each edit, in order."""

    items: list[BatchItem]
    accepted: int
    refused: int


class StateChange(Shape):
    """What a cancel (`cancelled`, `requested`, `final`) or replay (`replayed`, `open`, `succeeded`) came to."""

    outcome: Literal["cancelled", "requested", "final", "replayed", "open", "succeeded"]
    job: Job


class DryRun(Shape):
    """
    What enqueueing would mean now; nothing was enqueued.

    `position` counts from 1 over all tenants, by fairness. Estimates assume recent durations, and are null while
    `binding` is `paused`, `backlog` or `budget`. `binding` is the limit that makes it wait, or `none`.
    """

    cost: float = Field(description="What one call costs.")
    cost_at_most: float = Field(description="With all charges that max_charges allows.")
    position: int
    estimated_start_at: Instant | None
    estimated_end_at: Instant | None
    binding: Literal["none", "paused", "in_flight", "tenant_in_flight", "rate", "backlog", "budget", "breaker"]


class EventData(Shape):
    """What an event tells about its job; `sequence` counts from 0, `result` is the first of `results`."""

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


class Event(Shape):
    """The event object: the body of a webhook, the data of an SSE message."""

    type: EventType
    timestamp: Instant
    data: EventData


class FeedEvent(Event):
    """An event in the feed: `id` is the webhook-id of its deliveries, `cursor` its place in the feed."""

    id: str
    cursor: str


class FeedPage(Shape):
    """
    Events after a cursor, oldest first.

    Go on from `next_cursor`, which is there even when no event of yours was found; `has_more`: at once.
    """

    data: list[FeedEvent]
    has_more: bool
    next_cursor: str


class DeliveryAttempt(BaseModel):
    """One POST of a delivery: when, with what status or trouble, how long it took, when the next one is."""

    model_config = ConfigDict(extra="allow")
    at: Instant


class Delivery(Shape):
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


class DeliveryPage(Shape):
    """Deliveries, newest first."""

    data: list[Delivery]
    has_more: bool
    next_cursor: str | None


class Timeline(Shape):
    """Everything on record about a job."""

    job: Job
    events: list[Event]
    charges: list[ChargeEntry]
    deliveries: list[Delivery]


class Upload(Shape):
    """A kept picture; `url` can be used as init_image until `expires_at`."""

    url: str
    sha256: str
    width: int
    height: int
    bytes: int
    format: Literal["PNG", "JPEG", "WEBP"]
    expires_at: Instant
