"""Converts JSON documents of the gateway into the records that the store would return."""

from __future__ import annotations

from datetime import datetime

from retouch.blobs import name_in
from retouch.json_types import Document
from retouch.outcomes import Image
from retouch.query import parse_query
from retouch.store.answers import RawAnswer
from retouch.store.audit import Actor, AuditFilter, AuditLine
from retouch.store.bulk import BulkRequest, BulkRun, Preview
from retouch.store.deliveries import DeliveryAttempt, DeliveryRecord
from retouch.store.failing_receivers import FailingReceiver
from retouch.store.lanes import LaneNumbers
from retouch.store.receivers import Receiver
from retouch.store.records import Charge, JobError, JobRecord, JobSpec, PolicyChoices
from retouch.store.stats import Cost, LatencySummary, Stats, StatsRow
from retouch.store.worker_presence import Worker


def job_from(document: Document) -> JobRecord:
    """Return the record that the document of a job describes; its instants are accurate to a millisecond."""
    # null means that the workers' settings decide, so the record has no such choice.
    policy = PolicyChoices()
    if document["max_attempts"] is not None:
        policy["max_attempts"] = document["max_attempts"]
    if document["max_charges"] is not None:
        policy["max_charges"] = document["max_charges"]
    spec = JobSpec(
        tenant=document["tenant"],
        edit=document["edit"],
        deadline_s=document["deadline_s"],
        policy=policy,
        receivers=tuple(document["receivers"]),
        events=tuple(document["events"]),
        callback=document["callback"] or "",
        priority=document["priority"],
        tags=document["tags"],
        input=document["input"] or "",
    )
    return JobRecord(
        id=document["id"],
        spec=spec,
        state=document["state"],
        created_at=_instant(document["created_at"]) or 0.0,
        started_at=_instant(document["started_at"]),
        finished_at=_instant(document["finished_at"]),
        due_at=_instant(document["due_at"]),
        attempt=document["attempt"],
        charges=tuple(_charge(one) for one in document["charge_log"]),
        error=JobError(**document["error"]) if document["error"] else None,
        images=tuple(_image(one) for one in document["results"]),
        cancelled=document["cancelled"] or "",
        cancel_requested=document["cancel_requested"],
        resumable=document["resumable"],
        account=document["account"],
        account_reason=document["account_reason"] or "",
        worker=document["worker"] or "",
        approved_at=_instant(document["approved_at"]),
        approved_by=document["approved_by"] or "",
    )


def _image(document: Document) -> Image:
    # The document has the blob's name only as a part of the link; a link to a bucket contains it too.
    known = {name: document[name] for name in Image.__dataclass_fields__ if name in document}
    return Image(**{**known, "name": name_in(document["url"]), "warnings": tuple(document["warnings"])})


def _charge(document: Document) -> Charge:
    asked_at, answered_at = _instant(document["at"]), _instant(document["answered_at"])
    return Charge(document["fence"], asked_at or 0.0, document["class"] or "", answered_at, document["account"])


def delivery_from(document: Document) -> DeliveryRecord:
    """Return the record that the document of a delivery describes, with its attempts."""
    same = ("id", "sequence", "type", "receiver", "tenant", "state", "attempt")
    return DeliveryRecord(
        job=document["job_id"],
        log=[DeliveryAttempt(**{**one, "at": _instant(one["at"])}) for one in document["attempts"]],
        created_at=_instant(document["created_at"]),
        due_at=_instant(document["due_at"]),
        finished_at=_instant(document["finished_at"]),
        **{name: document[name] for name in same},
    )


def receiver_from(document: Document) -> Receiver:
    """Return the receiver that a document describes; the secret is empty if the document does not show it."""
    same = ("id", "tenant", "url", "disabled", "every_job")
    return Receiver(
        secret=document["secret"] or "",
        old_until=_instant(document["old_secret_until"]) or 0.0,
        events=tuple(document["events"]),
        **{name: document[name] for name in same},
    )


def preview_from(document: Document) -> Preview:
    """Return the preview of a bulk run that a document describes."""
    return Preview(**{name: document[name] for name in Preview.__dataclass_fields__})


def bulk_run_from(document: Document) -> BulkRun:
    """Return the bulk run that a document describes, without the fields that only workers need."""
    query = parse_query(document["query"], 0.0)
    return BulkRun(
        id=document["id"],
        tenant=document["tenant"],
        state=document["state"],
        request=BulkRequest(document["action"], query, document["priority"] or "", document["dead"]),
        actor=Actor(**document["by"]),
        preview=preview_from(document["preview"]),
        created_at=_instant(document["created_at"]) or 0.0,
        started_at=_instant(document["started_at"]),
        finished_at=_instant(document["finished_at"]),
        matched=document["matched"],
        outcomes=document["outcomes"],
    )


def raw_answer_of(document: Document | None) -> RawAnswer | None:
    """Return the raw answer that a document describes."""
    if document is None:
        return None
    return RawAnswer(document["status"], document["text"], document["cut"], document["fence"])


def audit_query(wanted: AuditFilter) -> dict[str, str | None]:
    """Return the query of `GET /v1/audit` for a filter; a part that matches every line is None."""
    until = "" if wanted.until == float("inf") else f"{wanted.until:.3f}"
    since = f"{wanted.since:.3f}" if wanted.since else ""
    words = {"since": since, "until": until, "action": wanted.action, "actor": wanted.actor, "tenant": wanted.tenant}
    return {name: word or None for name, word in words.items()}


def audit_line_from(document: Document) -> AuditLine:
    """Return the line of the audit that a document describes."""
    return AuditLine(
        document["id"],
        _instant(document["at"]) or 0.0,
        document["action"],
        Actor(**document["by"]),
        document["tenant"],
        document["details"],
    )


def failing_from(document: Document) -> FailingReceiver:
    """Return the failing receiver that a document describes."""
    return FailingReceiver(
        since=_instant(document["since"]) or 0.0,
        last_at=_instant(document["last_at"]) or 0.0,
        next_at=_instant(document["next_at"]),
        shut_until=_instant(document["shut_until"]),
        **{name: document[name] for name in ("id", "tenant", "failures", "status", "trouble", "waiting")},
    )


def lane_from(document: Document) -> LaneNumbers:
    """Return the numbers of a lane that a document describes."""
    return LaneNumbers(**{name: document[name] for name in LaneNumbers.__dataclass_fields__})


def worker_from(document: Document) -> Worker:
    """Return the worker process that a document describes."""
    known = {name: document[name] for name in ("name", "threads", "counts_for_s", "version")}
    return Worker(**known, lanes=tuple(document["lanes"]), accounts=tuple(document["accounts"]))


def stats_from(document: Document) -> Stats:
    """Return the statistics that a document describes."""
    return Stats(
        since=_instant(document["since"]) or 0.0,
        until=_instant(document["until"]) or 0.0,
        by=document["by"],
        total=_stats_row(document["total"]),
        rows=tuple(_stats_row(row) for row in document["data"]),
        today=Cost(**document["today"]),
        yesterday=Cost(**document["yesterday"]),
        oldest_waiting_s=document["oldest_waiting_s"],
    )


def _stats_row(row: Document) -> StatsRow:
    latencies = {name: LatencySummary(**row[name]) for name in ("wait_s", "endpoint_s", "total_s", "delivery_lag_s")}
    return StatsRow(**{**row, **latencies, "cost": Cost(**row["cost"])})


def _instant(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
