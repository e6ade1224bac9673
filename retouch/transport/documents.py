"""Reads the gateway's JSON documents as the records that the store returns."""

from __future__ import annotations

from datetime import datetime

from retouch.blobs import name_in
from retouch.json_types import Document
from retouch.outcomes import Image
from retouch.store.deliveries import DeliveryAttempt, DeliveryRecord
from retouch.store.failing_receivers import FailingReceiver
from retouch.store.lanes import LaneNumbers
from retouch.store.receivers import Receiver
from retouch.store.records import Charge, JobError, JobRecord, JobSpec, PolicyChoices
from retouch.store.stats import Cost, LatencySummary, Stats, StatsRow


def job_from(document: Document) -> JobRecord:
    """Read a job; its instants are accurate to a millisecond."""
    # null stands for the workers' settings, so such a choice must be absent.
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
    )


def _image(document: Document) -> Image:
    # The blob's name is in the link alone; the links of a bucket contain it as well.
    known = {name: document[name] for name in Image.__dataclass_fields__ if name in document}
    return Image(**{**known, "name": name_in(document["url"]), "warnings": tuple(document["warnings"])})


def _charge(document: Document) -> Charge:
    asked_at, answered_at = _instant(document["at"]), _instant(document["answered_at"])
    return Charge(document["fence"], asked_at or 0.0, document["class"] or "", answered_at)


def delivery_from(document: Document) -> DeliveryRecord:
    """Read a delivery with its attempts."""
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
    """Read a receiver."""
    same = ("id", "tenant", "url", "disabled", "every_job")
    return Receiver(
        secret=document["secret"] or "",
        old_until=_instant(document["old_secret_until"]) or 0.0,
        events=tuple(document["events"]),
        **{name: document[name] for name in same},
    )


def failing_from(document: Document) -> FailingReceiver:
    """Read how a receiver fails."""
    return FailingReceiver(
        since=_instant(document["since"]) or 0.0,
        last_at=_instant(document["last_at"]) or 0.0,
        next_at=_instant(document["next_at"]),
        shut_until=_instant(document["shut_until"]),
        **{name: document[name] for name in ("id", "tenant", "failures", "status", "trouble", "waiting")},
    )


def lane_from(document: Document) -> LaneNumbers:
    """Read the numbers of a lane."""
    return LaneNumbers(**{name: document[name] for name in LaneNumbers.__dataclass_fields__})


def stats_from(document: Document) -> Stats:
    """Read statistics."""
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
