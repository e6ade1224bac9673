"""Jobs, deliveries and receivers as JSON objects: the same members wherever a producer shows one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from retouch.events import Link, charge_summary, iso, result_objects
from retouch.store.deliveries import DeliveryAttempt, DeliveryRecord
from retouch.store.failing_receivers import FailingReceiver
from retouch.store.lanes import LaneNumbers
from retouch.store.receivers import Receiver
from retouch.store.records import Charge, JobRecord
from retouch.store.stats import Stats

Document = dict[str, Any]


def job_document(record: JobRecord, link: Link, price_per_call: float) -> Document:
    """Describe one job; instants are ISO 8601, links to the result are minted now."""
    spec, results = record.spec, result_objects(record.images, link)
    return {
        "id": record.id,
        "state": record.state,
        "tenant": spec.tenant,
        "priority": spec.priority,
        "tags": spec.tags,
        "edit": spec.edit,
        "input": spec.input or None,
        "deadline_s": spec.deadline_s,
        "max_attempts": spec.policy.get("max_attempts"),
        "max_charges": spec.policy.get("max_charges"),
        "attempt": record.attempt,
        "created_at": iso(record.created_at),
        "started_at": _instant(record.started_at),
        "finished_at": _instant(record.finished_at),
        "due_at": _instant(record.due_at),
        "result": results[0] if results else None,
        "results": results,
        "error": asdict(record.error) if record.error else None,
        "cancelled": record.cancelled or None,
        "cancel_requested": record.cancel_requested,
        "resumable": record.resumable,
        "charges": charge_summary(record.charges, price_per_call),
        "charge_log": [charge_document(charge) for charge in record.charges],
        "receivers": list(spec.receivers),
        "events": list(spec.events),
        "callback": spec.callback or None,
    }


def charge_document(charge: Charge) -> Document:
    """Describe one POST; `class` is null while its answer is not known, `fence` the number of its lease."""
    return {
        "fence": charge.fence,
        "at": iso(charge.intent_at),
        "answered_at": _instant(charge.answered_at),
        "class": charge.kind or None,
        "certain": charge.certain,
        "possible": charge.possible,
    }


def delivery_document(record: DeliveryRecord) -> Document:
    """Describe one delivery with its attempts, oldest first."""
    return {
        "id": record.id,
        "job_id": record.job,
        "sequence": record.sequence,
        "type": record.type,
        "receiver": record.receiver,
        "tenant": record.tenant,
        "state": record.state,
        "attempt": record.attempt,
        "created_at": _instant(record.created_at),
        "due_at": _instant(record.due_at),
        "finished_at": _instant(record.finished_at),
        "attempts": [_attempt(one) for one in record.log],
    }


def receiver_document(receiver: Receiver, *, show_secret: bool = False) -> Document:
    """Describe one receiver; the secret is left out unless it was asked for."""
    described: Document = {
        "id": receiver.id,
        "tenant": receiver.tenant,
        "url": receiver.url,
        "events": list(receiver.events),
        "every_job": receiver.every_job,
        "disabled": receiver.disabled,
        "old_secret_until": _instant(receiver.old_until) if receiver.old_secret else None,
    }
    return {**described, "secret": receiver.secret} if show_secret else described


def failure_document(failing: FailingReceiver) -> Document:
    """Describe how a receiver fails."""
    instants = {name: _instant(getattr(failing, name)) for name in ("since", "last_at", "next_at", "shut_until")}
    return {**asdict(failing), "reason": failing.reason, **instants}


def lane_document(numbers: LaneNumbers) -> Document:
    """Describe how a lane stands; `waiting_by_group` counts by tenant."""
    return asdict(numbers)


def _attempt(attempt: DeliveryAttempt) -> Document:
    return {**asdict(attempt), "at": iso(attempt.at)}


def _instant(at: float | None) -> str | None:
    return iso(at) if at else None


def stats_document(stats: Stats) -> Document:
    """Describe statistics; the rows by account or tenant are in `data`."""
    document = asdict(stats)
    rows = document.pop("rows")
    return {**document, "since": iso(stats.since), "until": iso(stats.until), "data": rows}
