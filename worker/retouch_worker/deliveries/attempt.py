"""One attempt to send one event to one receiver: claim, send, settle."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from traceback import extract_tb

import redis

from retouch.blobs import BlobStore
from retouch.events import event_id, event_object
from retouch.publisher import Publisher
from retouch.settings import Settings
from retouch.store.deliveries import DeliveryClaim, DeliveryStore, Settlement
from retouch.store.jobs import JobStore
from retouch.store.receivers import ReceiverStore
from retouch.store.records import JobRecord, TimelineEntry
from retouch.tracing import OFF, Tracing
from retouch_worker.deliveries.schedule import DeliveryOutcome, settlement_of, undeliverable
from retouch_worker.deliveries.sender import Sender
from retouch_worker.logs import log
from retouch_worker.pulse import Pulse

TASK_RECEIVER = "task:"
CRASHES_MOST = 10


@dataclass(frozen=True, slots=True)
class DeliveryDependencies:
    """The stores, the sender and the settings that delivery attempts use. There is one per worker process."""

    deliveries: DeliveryStore
    jobs: JobStore
    receivers: ReceiverStore
    sender: Sender
    blobs: BlobStore
    publisher: Publisher
    pulse: Pulse
    settings: Settings
    tracing: Tracing = OFF


def run_delivery(delivery: str, dependencies: DeliveryDependencies) -> Settlement | None:
    """
    Run one attempt of a delivery and return the settlement. Return None if the delivery cannot be claimed.

    Failure policy: at least once. The attempt goes on record after the POST. If a worker dies between the two, the
    event is sent again with the same webhook-id. An attempt that raises an exception counts as failed. If ten workers
    in a row have died while they ran a delivery, the delivery is given up.
    """
    claim = dependencies.deliveries.claim(delivery, dependencies.settings.lease_s)
    if claim is None:
        return None
    with dependencies.pulse.renewing(claim):
        settlement = attempt_delivery(claim, dependencies)
        messages = dependencies.deliveries.settle(claim, settlement)
    dependencies.publisher.publish(messages)
    log.info(
        "delivery_attempt_ended",
        delivery=delivery,
        job=claim.job,
        attempt=claim.number,
        move=settlement.move,
        status=settlement.log.status,
        trouble=settlement.log.trouble,
    )
    return settlement


def attempt_delivery(claim: DeliveryClaim, dependencies: DeliveryDependencies) -> Settlement:
    """
    Send the event and return the settlement. If sending raises an exception, this counts as a failed attempt.

    Failure policy: an error of Redis is raised, since nothing can go on record then. After the lease has expired,
    another worker sends the event.
    """
    if claim.crashes >= CRASHES_MOST:
        return undeliverable("worker after worker died over it", claim.number, time.time())
    try:
        return send_event(claim, dependencies)
    except redis.RedisError:
        raise
    except Exception as error:  # noqa: BLE001 - if this were not put on record, the event would be sent again for ever
        frame = extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        log.error("delivery_raised", delivery=claim.delivery, job=claim.job, error=type(error).__name__, place=place)
        outcome = DeliveryOutcome(None, "raised", excerpt=type(error).__name__)
        # Health is not changed: an error of ours says nothing about the receiver.
        return replace(settlement_of(outcome, claim.number, claim.by_hand, time.time(), random.random()), health="")


def send_event(claim: DeliveryClaim, dependencies: DeliveryDependencies) -> Settlement:
    """
    Send the event to its receiver and return the settlement. If that is impossible, the delivery becomes a dead letter.
    """
    record, entry = dependencies.jobs.record_with_entry(claim.job, claim.sequence)
    if record is None or entry is None:
        return undeliverable("the job is no longer on record", claim.number, time.time())
    with dependencies.tracing.delivery(claim, record.spec.trace) as span:
        settlement = _send(claim, record, entry, dependencies)
        span.settled(settlement)
    return settlement


def _send(
    claim: DeliveryClaim, record: JobRecord, entry: TimelineEntry, dependencies: DeliveryDependencies
) -> Settlement:
    """
    Send one event of a job and return the settlement. Each attempt builds the event anew, so that its links are new and
    do not expire soon.
    """
    is_callback = claim.receiver.startswith(TASK_RECEIVER)
    # A callback is a Celery message, which others see: its event is without prompt and picture.
    event = event_object(
        record, entry, dependencies.blobs.link, dependencies.settings.price_per_call, private=is_callback
    )
    if is_callback:
        return _settlement(dependencies.sender.callback(claim.receiver.removeprefix(TASK_RECEIVER), event), claim)
    receiver = dependencies.receivers.get(claim.receiver)
    if receiver is None or (receiver.disabled and not claim.by_hand):
        return undeliverable("the receiver is disabled", claim.number, time.time())
    return _settlement(dependencies.sender.webhook(receiver, event_id(claim.job, claim.sequence), event), claim)


def _settlement(outcome: DeliveryOutcome, claim: DeliveryClaim) -> Settlement:
    return settlement_of(outcome, claim.number, claim.by_hand, time.time(), random.random(), claim.age_s)
