"""How a receiver took its latest deliveries, read from their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Literal, TypeAlias

from retouch.store.deliveries import DeliveryAttempt, DeliveryRecord, DeliveryStore
from retouch.store.receivers import Receiver

LATEST_MOST = 200
_PAGES_MOST = 6
"""How many pages of 500 entries of the tenant's index are examined: other receivers may have all of them."""

Outcome: TypeAlias = Literal["delivered", "retried", "waiting", "dead"]


@dataclass(frozen=True, slots=True)
class HealthPoint:
    """
    One delivery. `outcome` is `retried` if it was delivered after `failed` attempts that failed.

    `latency_s` is how long the last attempt took; None if there was none. `created_at` is in Unix seconds.
    """

    id: str
    created_at: float | None
    outcome: Outcome
    failed: int
    latency_s: float | None


@dataclass(frozen=True, slots=True)
class ReceiverHealth:
    """
    The latest deliveries to one receiver, at most 200, oldest first.

    `is_partial` is true if older deliveries were not examined, since the tenant has had thousands since then.
    """

    points: tuple[HealthPoint, ...]
    is_partial: bool

    def count(self, *outcomes: Outcome) -> int:
        """Return how many deliveries have one of these outcomes."""
        counts = Counter(point.outcome for point in self.points)
        return sum(counts[outcome] for outcome in outcomes)

    @property
    def median_latency_s(self) -> float | None:
        """Return the median time that the receiver took for what was delivered; None if nothing was."""
        ended = [point.latency_s for point in self.points if point.outcome in ("delivered", "retried")]
        taken = [latency_s for latency_s in ended if latency_s is not None]
        return median(taken) if taken else None

    @property
    def since(self) -> float | None:
        """Return when the oldest of the deliveries was made, in Unix seconds."""
        return self.points[0].created_at if self.points else None


def receiver_health(deliveries: DeliveryStore, receiver: Receiver) -> ReceiverHealth:
    """Return the health of a receiver. At most 3,000 entries of its tenant's index of deliveries are examined."""
    ids, pages = list[str](), 0
    for page in islice(deliveries.pages_to_receiver(receiver.tenant, receiver.id), _PAGES_MOST):
        ids, pages = ids + page, pages + 1
        if len(ids) >= LATEST_MOST:
            break
    newest_first = deliveries.records(ids[:LATEST_MOST])
    is_partial = pages == _PAGES_MOST and len(ids) < LATEST_MOST
    return ReceiverHealth(tuple(map(_point, reversed(newest_first))), is_partial)


def _point(record: DeliveryRecord) -> HealthPoint:
    failed, last = _failures(record.log), record.log[-1] if record.log else None
    latency_s = last.latency_s if last else None
    return HealthPoint(record.id, record.created_at, _outcome(record.state, failed), failed, latency_s)


def _outcome(state: str, failed: int) -> Outcome:
    if state == "delivered":
        return "retried" if failed else "delivered"
    return "dead" if state == "dead" else "waiting"


def _failures(log: Sequence[DeliveryAttempt]) -> int:
    return sum(not (attempt.status and 200 <= attempt.status < 300) for attempt in log)
