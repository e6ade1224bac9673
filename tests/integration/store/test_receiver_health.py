"""The health of a receiver is read from the records of its latest deliveries, within bounds."""

from __future__ import annotations

from typing import Any

import pytest

from retouch.outcomes import Fail
from retouch.store import receiver_health as module
from retouch.store.receiver_health import ReceiverHealth, receiver_health
from retouch.store.receivers import Receiver
from retouch_producer.findings.receiver_health import health_text
from retouch_worker.deliveries.schedule import DeliveryOutcome, settlement_of
from tests.lane_kit import LEASE_S, LaneKit

HOOK = "https://hooks.example/a"


@pytest.fixture
def kit(client: Any) -> LaneKit:
    kit = LaneKit(client)
    kit.open(100, 0.0)
    return kit


@pytest.fixture
def receiver(kit: LaneKit) -> Receiver:
    return kit.receivers.ensure("acme", HOOK)


def attempt(kit: LaneKit, item: str, status: int | None, elapsed_s: float) -> None:
    """Make an attempt of a delivery: it ends with this status after this time."""
    claim = kit.deliveries.claim(item, LEASE_S)
    assert claim is not None
    outcome = DeliveryOutcome(status, "" if status else "timeout", elapsed_s=elapsed_s)
    kit.deliveries.settle(claim, settlement_of(outcome, claim.number, claim.by_hand, 0.0, 0.5))


def event(kit: LaneKit, receiver: Receiver, tenant: str = "acme") -> str:
    """Let a job fail, and return the id of its delivery to this receiver."""
    job = kit.new(tenant, receivers=(receiver.id,))
    kit.enqueue(job)
    kit.finish(job.id, Fail("no_credits", "the account is out of credits", retryable=False))
    (record,) = kit.deliveries.of_job(job.id)
    return record.id


def health(kit: LaneKit, receiver: Receiver) -> ReceiverHealth:
    return receiver_health(kit.deliveries, receiver)


def test_each_delivery_has_its_outcome_and_latency(kit: LaneKit, receiver: Receiver) -> None:
    """Deliveries come oldest first: delivered at once, delivered after a failed attempt, dead, and waiting."""
    assert health_text(health(kit, receiver)) == "No delivery is on record."
    first, second, third = (event(kit, receiver) for _ in range(3))
    attempt(kit, first, 200, 0.1)
    attempt(kit, second, 500, 3.0)
    attempt(kit, third, 410, 0.2)
    kit.receivers.set_disabled(receiver.id, False)
    kit.make_due("deliveries", "timetable")
    kit.rescue()
    attempt(kit, second, 204, 0.3)
    fourth = event(kit, receiver)
    found = health(kit, receiver)
    assert [(point.id, point.outcome, point.failed, point.latency_s) for point in found.points] == [
        (first, "delivered", 0, 0.1),
        (second, "retried", 1, 0.3),
        (third, "dead", 1, 0.2),
        (fourth, "waiting", 0, None),
    ]
    assert found.median_latency_s == pytest.approx(0.2)
    assert not found.is_partial
    words = "Of the last 4: 2 delivered (1 after failed attempts), 1 waiting, 1 dead; median 200 ms; since 2"
    assert health_text(found).startswith(words)


def test_only_the_newest_are_read(kit: LaneKit, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most `LATEST_MOST` deliveries are shown, the newest; a busy tenant's index is not read to its end."""
    monkeypatch.setattr(module, "LATEST_MOST", 2)
    items = [event(kit, receiver) for _ in range(3)]
    other = kit.receivers.ensure("acme", "https://other.example/b")
    event(kit, other)
    assert [point.id for point in health(kit, receiver).points] == items[1:]
    assert not health(kit, receiver).is_partial
    monkeypatch.setattr(module, "_PAGES_MOST", 1)
    assert len(health(kit, other).points) == 1
    assert health(kit, other).is_partial
    assert health_text(health(kit, other)).endswith("; older ones were not examined.")
