"""The wire shapes of `/v1` that are about receivers, deliveries, money and lanes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from retouch.store.lanes import LaneNumbers
from retouch.store.ledger import By, UsageRow
from retouch_producer.gateway.schemas.edits import Delivery, EventType, Instant, Shape


class ReceiverRequest(Shape):
    """A URL that is to hear of every job; `events` empty means those that end a job."""

    url: str
    events: list[EventType] = Field(default_factory=list)
    tenant: str | None = Field(None, description="The key's own; an ops key may name another.")
    every_job: bool = Field(True, description="False: only of the jobs that name this URL as their webhook.")


class FailingReceiver(Shape):
    """How a receiver fails: no success since `since`; `waiting` deliveries wait for its host; the next at `next_at`."""

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


class Receiver(Shape):
    """A webhook's target. `secret` verifies what it receives; shown when it is made or rotated, else null."""

    id: str
    tenant: str
    url: str
    events: list[str]
    every_job: bool
    disabled: bool
    old_secret_until: Instant | None
    secret: str | None = None
    failing: FailingReceiver | None = None


class ReceiverPage(Shape):
    """All receivers, by id."""

    data: list[Receiver]


class TestAnswer(Shape):
    """What a receiver answered to a test event."""

    receiver: str
    accepted: bool
    status: int | None
    trouble: str | None
    answer: str
    latency_s: float


class Redelivered(Shape):
    """What a redelivery came to; `open` is under way already."""

    outcome: Literal["redelivered", "open"]
    delivery: Delivery


class RedeliveredMany(Shape):
    """How many deliveries of a receiver were sent again, are under way, or lost their job's record."""

    redelivered: int
    open: int
    gone: int


class Usage(Shape):
    """Money, by tenant, day, tag or account."""

    by: By
    data: list[UsageRow]
    has_more: bool
    next_cursor: str | None


class Status(Shape):
    """
    Both lanes, how many jobs ended since ever, and the receivers that fail, the longest first.

    A producer sees its own alone of what waits and fails; `failing_receivers` has 20 at the most.
    """

    edits: LaneNumbers
    deliveries: LaneNumbers
    ended: dict[str, int]
    receivers_failing: int
    failing_receivers: list[FailingReceiver]
