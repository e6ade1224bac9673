"""The request and response bodies of `/v1` about receivers, redelivery, usage and the state of the lanes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from retouch.store.lanes import LaneNumbers
from retouch.store.ledger import By, UsageRow
from retouch_producer.gateway.schemas.edits import EventType, Instant, Schema
from retouch_producer.gateway.schemas.events import Delivery


class ReceiverRequest(Schema):
    """
    A URL that receives events of a tenant's jobs. If `events` is empty, it receives only the events that end a job.
    """

    url: str
    events: list[EventType] = Field(default_factory=list)
    tenant: str | None = Field(None, description="The key's own tenant; a key of role ops may name another.")
    every_job: bool = Field(True, description="False: it receives events only of jobs that name it as their webhook.")


class FailingReceiver(Schema):
    """
    A receiver without a success since `since`.

    `waiting` counts the deliveries to the receiver's host that wait or hold a slot. `next_at` is the time of the next
    attempt, or null. While attempts are suspended, `shut_until` is the end of the suspension; else it is null.
    """

    id: str
    tenant: str
    since: Instant
    failures: int
    status: int | None
    trouble: str
    reason: str
    last_at: Instant
    waiting: int
    next_at: Instant | None
    shut_until: Instant | None


class HealthPoint(Schema):
    """
    One delivery. `retried` is delivered after `failed` attempts; `latency_s` is how long the last attempt took.
    """

    id: str
    created_at: Instant | None
    outcome: Literal["delivered", "retried", "waiting", "dead"]
    failed: int
    latency_s: float | None


class ReceiverHealth(Schema):
    """
    The latest deliveries to a receiver, at most 200.

    `delivered` includes `delivered_after_failures`. `median_latency_s` is how long the receiver took for what was
    delivered. `is_partial` is true if older deliveries were not examined, since the tenant has thousands of newer ones.
    `latest` has each delivery, oldest first.
    """

    deliveries: int
    delivered: int
    delivered_after_failures: int
    waiting: int
    dead: int
    median_latency_s: float | None
    since: Instant | None
    is_partial: bool
    latest: list[HealthPoint]


class Receiver(Schema):
    """
    A URL that webhooks are sent to.

    `secret` signs the events for this URL. It is null unless this request made or rotated the secret. `health` is null
    unless one receiver is read.
    """

    id: str
    tenant: str
    url: str
    events: list[str]
    every_job: bool
    disabled: bool
    old_secret_until: Instant | None
    secret: str | None = None
    failing: FailingReceiver | None = None
    health: ReceiverHealth | None = None


class ReceiverPage(Schema):
    """Receivers, sorted by id."""

    data: list[Receiver]
    has_more: bool
    next_cursor: str | None


class TestAnswer(Schema):
    """
    The answer of a receiver to a test event. `trouble` says why there was no answer, and is null if there was one.
    """

    receiver: str
    accepted: bool
    status: int | None
    trouble: str | None
    answer: str
    latency_s: float


class Redelivered(Schema):
    """The outcome of a redelivery. `open` means that the delivery is under way already."""

    outcome: Literal["redelivered", "open"]
    delivery: Delivery


class RedeliveredMany(Schema):
    """
    How many deliveries to a receiver were sent again, and how many were not.

    `open` counts the deliveries that are under way already, `gone` those whose job is no longer on record.
    """

    redelivered: int
    open: int
    gone: int


class Usage(Schema):
    """Sums of charges and reserved calls, and what they cost, by tenant, day, tag or account."""

    by: By
    data: list[UsageRow]
    has_more: bool
    next_cursor: str | None


class Worker(Schema):
    """
    A worker process that runs. It is gone after `counts_for_s` seconds without a further heartbeat.

    `threads` are its threads for deliveries. `accounts` is empty if there is only one account. A worker of a release
    that announced neither has the version `unknown` and no `lanes`.
    """

    name: str
    version: str
    lanes: list[Literal["edits", "deliveries"]]
    threads: int
    accounts: list[str]
    counts_for_s: float


class Status(Schema):
    """
    The numbers of both lanes, the number of jobs that ever ended in each state, up to 200 workers, and up to 20 failing
    receivers.

    The receiver that has failed for longest is the first. A key of role producer gets only the numbers of its own
    tenant, and no workers.
    """

    edits: LaneNumbers
    deliveries: LaneNumbers
    ended: dict[str, int]
    workers: list[Worker]
    receivers_failing: int
    failing_receivers: list[FailingReceiver]
