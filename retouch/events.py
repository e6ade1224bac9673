"""The event object, which is the same in webhooks, callbacks, the feed and `job.events()`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypedDict

from retouch.blobs import thumbnail_name
from retouch.json_types import Document, JsonObject
from retouch.outcomes import Image
from retouch.store.records import Charge, JobRecord, TimelineEntry, charges_from
from retouch.store.results import images_from

Link = Callable[[str], str]
"""A function that returns a URL for the name of a blob."""


class ImageObject(TypedDict):
    """
    An image in the blob store. `bytes` is the size of the file, `width` and `height` are in pixels; the links expire.
    """

    url: str
    thumbnail_url: str
    sha256: str
    width: int
    height: int
    bytes: int
    format: str
    warnings: list[str]


class ChargeSummary(TypedDict):
    """
    The charges of a job: `certain` POSTs were billed, and `possible` POSTs were billed or may have been billed.

    `amount` is the cost of all possible POSTs.
    """

    certain: int
    possible: int
    amount: float


class Timings(TypedDict):
    """
    Durations in seconds; None means that there is no value yet.

    `queued` is the wait before the first attempt. `endpoint` is the duration of all answered calls to the endpoint
    together. `total` is the time from enqueueing to the event.
    """

    queued: float | None
    endpoint: float | None
    total: float


class EventData(TypedDict):
    """The facts of an event; `sequence` is the position of the event in the job's timeline."""

    job_id: str
    sequence: int
    state: str
    tenant: str
    tags: dict[str, str]
    edit: JsonObject
    result: ImageObject | None
    results: list[ImageObject]
    error: Document | None
    cancelled: str | None
    charges: ChargeSummary
    timings_s: Timings


class Event(TypedDict):
    """One event of a job; `timestamp` is ISO 8601 in UTC."""

    type: str
    timestamp: str
    data: EventData


def iso(at: float) -> str:
    """Return an instant (Unix seconds) as ISO 8601, in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event_object(
    record: JobRecord, entry: TimelineEntry, link: Link, price_per_call: float = 0.0, *, private: bool = False
) -> Event:
    """
    Return the event for one entry of a job's timeline, with new links to the images.

    With `private`, the event has no prompt, no URL of the customer and no `extra`, since the event of a callback is
    sent inside a Celery message.
    """
    kind = entry["type"]
    # The charges and images at the time of the event, not those of now: an event is the same whenever it is built.
    charges = charges_from(entry.get("charges", ()))
    results = result_objects(images_from(entry.get("result")), link)
    return {
        "type": kind,
        "timestamp": iso(entry["at"]),
        "data": {
            "job_id": record.id,
            "sequence": entry["sequence"],
            "state": _state(kind),
            "tenant": record.spec.tenant,
            "tags": record.spec.tags,
            "edit": _edit(record.spec.edit, private),
            "result": results[0] if results else None,
            "results": results,
            "error": entry.get("error"),
            "cancelled": entry.get("cancelled"),
            "charges": charge_summary(charges, price_per_call),
            "timings_s": _timings(record, entry["at"], charges),
        },
    }


def queued_event(record: JobRecord, price_per_call: float = 0.0) -> Event:
    """Return the first event of a job, `edit.queued` with sequence 0. No receiver gets this event."""
    entry: TimelineEntry = {"type": "edit.queued", "at": record.created_at, "sequence": 0}
    return event_object(record, entry, str, price_per_call)


def event_id(job: str, sequence: int) -> str:
    """Return the id of an event, which is the same in all its deliveries and attempts."""
    # Without a dot: Standard Webhooks signs id, timestamp and body with dots between them.
    return f"evt_{job.removeprefix('ed_')}-{sequence}"


def charge_summary(charges: Sequence[Charge], price_per_call: float) -> ChargeSummary:
    """
    Return the number of certain charges, the number of possible charges, and the cost of all possible charges.

    A possible charge is certain or unknown. `price_per_call` is the price of those from a time with one account.
    """
    prices = [price_per_call if charge.price is None else charge.price for charge in charges if charge.possible]
    certain = sum(charge.certain for charge in charges)
    return {"certain": certain, "possible": len(prices), "amount": round(sum(prices), 6)}


def result_objects(images: Sequence[Image], link: Link) -> list[ImageObject]:
    """
    Return the images of a job in the form that events contain, with new links, in the order of the endpoint's answer.
    """
    return [result_object(image, link) for image in images]


def result_object(image: Image, link: Link) -> ImageObject:
    """Return an image in the form that events contain, with new links."""
    return {
        "url": link(image.name),
        "thumbnail_url": link(thumbnail_name(image.name)),
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
        "bytes": image.bytes,
        "format": image.format,
        "warnings": list(image.warnings),
    }


def _state(kind: str) -> str:
    """Return the state that a job has after an event."""
    word = kind.removeprefix("edit.")
    # Each of these puts the job back into the backlog.
    return {"recovered": "queued", "adopted": "queued", "replayed": "queued"}.get(word, word)


def _edit(edit: JsonObject, private: bool) -> JsonObject:
    """Return the edit of an event; with `private`, only its numbers."""
    return {name: value for name, value in edit.items() if not private or name not in ("prompt", "init_image", "extra")}


def _timings(record: JobRecord, at: float, charges: Sequence[Charge]) -> Timings:
    answered_s = [charge.answered_at - charge.intent_at for charge in charges if charge.answered_at is not None]
    return {
        "queued": round(record.started_at - record.created_at, 3) if record.started_at else None,
        "endpoint": round(sum(answered_s), 3) if answered_s else None,
        "total": round(at - record.created_at, 3),
    }
