"""Builds the timeline of one job: its events, the intent and the answer of each POST, and each delivery attempt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from retouch.store.deliveries import DeliveryRecord
from retouch.store.records import Charge, JobRecord, TimelineEntry
from retouch_producer.gateway.console.wording import duration, size

Tone = Literal["plain", "work", "good", "bad", "money"]

_EVENTS: dict[str, tuple[str, Tone]] = {
    "edit.running": ("Attempt began", "work"),
    "edit.retrying": ("Attempt failed, another follows", "bad"),
    "edit.recovered": ("Taken from a worker that went silent", "bad"),
    "edit.adopted": ("A late answer was taken up", "good"),
    "edit.replayed": ("Put back by hand", "work"),
    "edit.succeeded": ("Image checked and stored", "good"),
    "edit.failed": ("Failed for good", "bad"),
    "edit.cancelled": ("Cancelled", "plain"),
}
_CLASSES = {
    "succeeded": "the image is ready, and paid",
    "processing": "the endpoint works on it, and it is paid",
    "refused": "refused, and not paid",
    "failed": "failed, and counted as not paid",
}


@dataclass(frozen=True, slots=True)
class Step:
    """
    One thing that happened to a job at the time `at` (Unix seconds).

    `excerpt` is a part of a receiver's answer. The page shows it as plain text. `link` is the address of a page of the
    console.
    """

    at: float
    title: str
    detail: str = ""
    tone: Tone = "plain"
    excerpt: str = ""
    link: str = ""


def steps_of(record: JobRecord, entries: Sequence[TimelineEntry], deliveries: Sequence[DeliveryRecord]) -> list[Step]:
    """Return the events, charges and delivery attempts of a job in the order in which they happened."""
    steps = [Step(record.created_at, "Enqueued", f"priority {record.spec.priority}")]
    # Two instants may be the same millisecond. Sorting keeps the order of such steps: an attempt is before its POST.
    begun = [entry for entry in entries if entry["type"] == "edit.running"]
    steps += [_event(entry, record) for entry in begun]
    steps += [step for charge in record.charges for step in _charge(charge)]
    steps += [_event(entry, record) for entry in entries if entry not in begun]
    steps += [step for delivery in deliveries for step in _deliveries(delivery)]
    return sorted(steps, key=lambda step: step.at)


def _event(entry: TimelineEntry, record: JobRecord) -> Step:
    title, tone = _EVENTS.get(entry["type"], (entry["type"], "plain"))
    error = entry.get("error")
    details = [f"{error['code']}: {error['message']}"] if error else []
    if "delay_s" in entry:
        details.append(f"the next attempt in {duration(entry['delay_s'])}")
    if entry["type"] == "edit.cancelled" and entry.get("cancelled"):
        details.append(
            {"before_charge": "before any charge", "after_charge": "after a charge"}[str(entry["cancelled"])]
        )
    if entry["type"] == "edit.succeeded" and record.images:
        first = record.images[0]
        details.append(f"{first.width} × {first.height} {first.format}, {size(first.bytes)}")
    return Step(entry["at"], title, "; ".join(details), tone)


def _charge(charge: Charge) -> Iterator[Step]:
    yield Step(charge.intent_at, "Intent to POST put on record", f"lease {charge.fence}", "money")
    if charge.answered_at is not None:
        words = _CLASSES.get(charge.kind, "whether it was paid is not known")
        took = duration(charge.answered_at - charge.intent_at)
        tone: Tone = "bad" if not charge.certain else "money"
        yield Step(charge.answered_at, f"POST answered: {charge.kind}", f"after {took}; {words}", tone)


def _deliveries(delivery: DeliveryRecord) -> Iterator[Step]:
    link = f"/console/deliveries/{delivery.id}"
    for attempt in delivery.log:
        answer = f"HTTP {attempt.status}" if attempt.status else attempt.trouble or "no answer"
        accepted = attempt.status is not None and 200 <= attempt.status < 300
        follows = f"; the next attempt in {duration(attempt.next_in_s)}" if attempt.next_in_s else ""
        yield Step(
            attempt.at,
            f"{delivery.type} sent: {answer}",
            f"attempt {attempt.attempt} to {delivery.receiver}, {duration(attempt.latency_s)}{follows}",
            "good" if accepted else "bad",
            attempt.excerpt,
            link,
        )
