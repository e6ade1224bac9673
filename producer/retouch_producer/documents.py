"""Builds the JSON objects of jobs, deliveries, receivers and accounts. Commands and gateway use the same objects."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from retouch.events import Link, charge_summary, iso, result_objects
from retouch.store.accounts import AccountNumbers
from retouch.store.answers import RawAnswer
from retouch.store.audit import AuditLine
from retouch.store.bulk import BulkRun
from retouch.store.deliveries import DeliveryAttempt, DeliveryRecord
from retouch.store.failing_receivers import FailingReceiver
from retouch.store.lanes import LaneNumbers
from retouch.store.receiver_health import ReceiverHealth
from retouch.store.receivers import Receiver
from retouch.store.records import Charge, JobRecord
from retouch.store.stats import Stats
from retouch.store.worker_presence import Worker

Document = dict[str, Any]


def job_document(record: JobRecord, link: Link, price_per_call: float) -> Document:
    """Return one job as a JSON object, with instants in ISO 8601. `link` signs a new link to each image."""
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
        "account": record.account,
        "account_reason": record.account_reason or None,
        "worker": record.worker or None,
        "approved_at": _instant(record.approved_at),
        "approved_by": record.approved_by or None,
        "charges": charge_summary(record.charges, price_per_call),
        "charge_log": [charge_document(charge) for charge in record.charges],
        "receivers": list(spec.receivers),
        "events": list(spec.events),
        "callback": spec.callback or None,
    }


def charge_document(charge: Charge) -> Document:
    """
    Return one POST as a JSON object. `class` is null while no answer is on record.

    `fence` is the number of the lease under which the worker sent the POST.
    """
    return {
        "fence": charge.fence,
        "account": charge.account,
        "at": iso(charge.intent_at),
        "answered_at": _instant(charge.answered_at),
        "class": charge.kind or None,
        "certain": charge.certain,
        "possible": charge.possible,
    }


def raw_answer_document(raw: RawAnswer | None) -> Document | None:
    """
    Return a raw answer of the endpoint as a JSON object, or None for None. Its `fence` is also the `fence` of the
    charge.
    """
    if raw is None:
        return None
    return {"fence": raw.fence, "status": raw.status, "text": raw.text, "cut": raw.is_cut}


def delivery_document(record: DeliveryRecord) -> Document:
    """Return one delivery as a JSON object, with its attempts, oldest first."""
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
    """Return one receiver as a JSON object; its secret is included only with `show_secret`."""
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
    """Return the failures of a receiver as a JSON object."""
    instants = {name: _instant(getattr(failing, name)) for name in ("since", "last_at", "next_at", "shut_until")}
    return {**asdict(failing), "reason": failing.reason, **instants}


def health_document(health: ReceiverHealth) -> Document:
    """Return the health of a receiver as a JSON object: its sums, and `latest` with each delivery, oldest first."""
    latest = [{**asdict(point), "created_at": _instant(point.created_at)} for point in health.points]
    return {
        "deliveries": len(health.points),
        "delivered": health.count("delivered", "retried"),
        "delivered_after_failures": health.count("retried"),
        "waiting": health.count("waiting"),
        "dead": health.count("dead"),
        "median_latency_s": health.median_latency_s,
        "since": _instant(health.since),
        "is_partial": health.is_partial,
        "latest": latest,
    }


def bulk_document(run: BulkRun) -> Document:
    """Return a bulk run as a JSON object."""
    return {
        "id": run.id,
        "tenant": run.tenant,
        "state": run.state,
        "action": run.request.action,
        "query": str(run.request.query),
        "priority": run.request.priority or None,
        "dead": run.request.dead,
        "by": asdict(run.actor),
        "preview": asdict(run.preview),
        "created_at": iso(run.created_at),
        "started_at": _instant(run.started_at),
        "finished_at": _instant(run.finished_at),
        "matched": run.matched,
        "acted_on": run.acted_on,
        "outcomes": run.outcomes,
    }


def audit_document(line: AuditLine) -> Document:
    """Return one change in the audit as a JSON object."""
    return {
        "id": line.id,
        "at": iso(line.at),
        "action": line.action,
        "by": asdict(line.actor),
        "tenant": line.tenant,
        "details": line.details,
    }


def lane_document(numbers: LaneNumbers) -> Document:
    """Return the numbers of a lane as a JSON object; `waiting_by_group` counts the waiting jobs of each tenant."""
    return asdict(numbers)


def worker_document(worker: Worker) -> Document:
    """Return a worker process as a JSON object; `lanes` is empty if its version is unknown."""
    return {**asdict(worker), "lanes": list(worker.lanes), "accounts": list(worker.accounts)}


def account_document(numbers: AccountNumbers) -> Document:
    """Return the state of an account as a JSON object. While the account is open, `mode` and `closed` are null."""
    described = {**asdict(numbers), "mode": numbers.mode or None, "closed": numbers.closed or None}
    return {**described, "closed_at": _instant(numbers.closed_at), "binding": numbers.binding}


def _attempt(attempt: DeliveryAttempt) -> Document:
    return {**asdict(attempt), "at": iso(attempt.at)}


def _instant(at: float | None) -> str | None:
    return iso(at) if at else None


def stats_document(stats: Stats) -> Document:
    """Return statistics as a JSON object; the rows by account or tenant are in `data`."""
    document = asdict(stats)
    rows = document.pop("rows")
    return {**document, "since": iso(stats.since), "until": iso(stats.until), "data": rows}
