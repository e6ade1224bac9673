"""
Request and response bodies of `/v1`, as OpenAPI describes them.

The request models are only for this description. `Edit` and `retouch.admission` check the requests, with messages that
name the value and the range. Instants are ISO 8601 in UTC, durations are in seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from retouch.options import EventName, Priority, StateName
from retouch.states import EVENTS, JobState
from retouch_producer.documents import Document

BATCH_MOST = 1_000
PAGE_MOST = 1_000

Instant = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
EventType = Literal["edit.queued", EventName]
# A value that is missing in one of the two sets would be refused here, or missing in the description.
assert {*get_args(StateName)} == {*JobState}
assert {*get_args(EventType)} == {*EVENTS, "edit.queued"}


class Schema(BaseModel):
    """The base of all schemas. It refuses members that a schema does not list."""

    model_config = ConfigDict(extra="forbid")


_EXAMPLE: Document = {
    "prompt": "make him woman",
    "init_image": "https://example.com/in.png",
    "image_guidance_scale": 1,
    "steps": 50,
    "guidance_scale": 7,
    "tags": {"order": "17"},
}


class EditRequest(Schema):
    """One edit to enqueue: the endpoint's fields, then the options of the job."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    prompt: str = Field(min_length=1, max_length=10_000, description="What to change.")
    init_image: str = Field(description="http(s) URL of the picture, such as one from /v1/uploads.")
    image_guidance_scale: float = Field(1, ge=1, le=8)
    steps: int = Field(20, ge=1, le=50)
    guidance_scale: float = Field(7, ge=1, le=20)
    extra: Document = Field(default_factory=dict, description="Parameters passed on to the endpoint unchanged.")
    priority: Priority = "normal"
    deadline_s: float | None = Field(
        None, gt=0, le=30 * 86_400, description="Seconds after which the job fails if it has not ended."
    )
    max_attempts: int | None = Field(None, ge=1, le=100, description="Most attempts, the first included.")
    max_charges: int | None = Field(None, ge=1, le=10, description="Most POSTs to the endpoint that may be billed.")
    webhook: str | None = Field(None, description="URL that receives the final event of this job.")
    callback: str | None = Field(None, description="Allow-listed Celery task that receives the final event.")
    events: list[EventType] = Field(default_factory=list, description="Further events that the webhook receives.")
    tags: dict[str, str] = Field(default_factory=dict, description="Up to 20 tags, returned in every event.")
    tenant: str | None = Field(None, description="The key's own tenant; a key of role ops may name another.")
    idempotency_key: str | None = Field(
        None, max_length=255, description="Like the header Idempotency-Key, but for one item of a batch."
    )


class BatchRequest(Schema):
    """Up to 1,000 edits; each is accepted or refused on its own."""

    edits: list[EditRequest] = Field(min_length=1, max_length=BATCH_MOST)


class Fault(Schema):
    """One fault of a request; `field` is a path such as `edits[3].prompt`."""

    field: str
    message: str


class Problem(Schema):
    """
    RFC 9457 problem details, `application/problem+json`.

    `type` is stable, and is the path of a page about the problem. `retryable` is true if the same request may succeed
    later. `charged` is true if the request may have cost money. It is null if this is not known: repeat the request
    with the same idempotency key.
    """

    type: str = Field(examples=["/problems/invalid-request"])
    title: str
    status: int
    detail: str
    retryable: bool
    charged: bool | None
    faults: list[Fault]
    retry_after_s: float | None = Field(None, description="With 429 and 503: seconds to wait, as in Retry-After.")


class Charges(Schema):
    """
    Numbers of POSTs. `certain` POSTs were billed. `possible` POSTs were billed or may have been billed.

    `amount` is the cost of all possible POSTs.
    """

    certain: int
    possible: int
    amount: float


class ChargeEntry(Schema):
    """
    One POST to an `account` of the endpoint.

    `class` is null while the answer is unknown; `fence` is the number of the lease that the worker had.
    """

    fence: int
    account: str
    at: Instant
    answered_at: Instant | None
    klass: str | None = Field(alias="class")
    certain: bool
    possible: bool


class Result(Schema):
    """An edited image. The links were signed for this answer and expire; `bytes` is the size of the file."""

    url: str
    thumbnail_url: str
    sha256: str
    width: int
    height: int
    bytes: int
    format: Literal["PNG", "JPEG", "WEBP"]
    warnings: list[str]


class Error(Schema):
    """Why a job has no image. `code` is stable, `message` is for people; if `retryable`, a replay may succeed."""

    code: str
    message: str
    retryable: bool


class Links(Schema):
    """Paths of the job's parts on the gateway. `input` is null if no copy of the input picture was stored."""

    self: str
    image: str
    thumbnail: str
    input: str | None
    timeline: str
    events: str
    cancel: str
    replay: str
    approve: str
    unapprove: str


class Job(Schema):
    """
    One job.

    `replayed` is true if the request returned an earlier job with the same idempotency key. `shared` is true if the
    request returned an earlier job for the same edit. `edit` has the fields that are sent to the endpoint. `input` is
    the name of our copy of the picture, under `/files/`. `max_attempts` and `max_charges` are null if the workers'
    settings apply. `resumable` is true if a paid answer is on record, so that a replay costs nothing. `results` has all
    images of the endpoint's answer, and `result` is the first of them. `account` is the account to which the job was
    dispatched last. `account_reason` says why, and is null if there is only one account. `worker` is the host and
    process of the worker that claimed the job last. `approved_at` and `approved_by` are null unless the result is
    approved. `approved_by` is the name of the API key, its id if it has no name, or `cli` or `python` without a key.
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
    account: str
    account_reason: str | None
    worker: str | None
    approved_at: Instant | None
    approved_by: str | None
    charges: Charges
    charge_log: list[ChargeEntry]
    receivers: list[str]
    events: list[EventType]
    callback: str | None
    replayed: bool
    shared: bool
    links: Links


class JobPage(Schema):
    """
    Jobs, newest first; pass `next_cursor` as `cursor` to read the next page.

    `looked_at` counts the index entries that were read for this page. It is much larger than the page if the query has
    a field without an index, such as `cost`.
    """

    data: list[Job]
    has_more: bool
    next_cursor: str | None
    looked_at: int


class BatchItem(Schema):
    """
    The result of one item: `id` and `url`, or `problem`.

    `status` is the HTTP status that the item would get as a request of its own.
    """

    index: int
    status: int
    id: str | None
    url: str | None
    replayed: bool
    shared: bool
    problem: Problem | None


class BatchAnswer(Schema):
    """The results of a batch, one item for each edit, in order."""

    items: list[BatchItem]
    accepted: int
    refused: int


class StateChange(Schema):
    """
    The outcome of a change to a job, and the job after it.

    A cancel has the outcome `cancelled`, `requested` or `final`. A replay has the outcome `replayed`, `open` or
    `succeeded`. Approving has the outcome `approved`, taking the mark back `unapproved`, and both `unchanged` if the
    mark was so before.
    """

    outcome: Literal[
        "cancelled", "requested", "final", "replayed", "open", "succeeded", "approved", "unapproved", "unchanged"
    ]
    job: Job


class Upload(Schema):
    """A stored picture. `url` can be used as init_image until `expires_at`."""

    url: str
    sha256: str
    width: int
    height: int
    bytes: int
    format: Literal["PNG", "JPEG", "WEBP"]
    expires_at: Instant
