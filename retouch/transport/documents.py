"""The gateway's JSON documents, read as the records that the store gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from retouch.blobs import name_in
from retouch.outcomes import Image
from retouch.query import parse_query
from retouch.store.audit import Actor
from retouch.store.bulk import BulkRequest, BulkRun, Preview
from retouch.store.deliveries import DeliveryRecord
from retouch.store.lanes import LaneNumbers
from retouch.store.receivers import Receiver
from retouch.store.records import Charge, JobRecord, JobSpec

Document = Mapping[str, Any]


def job_from(document: Document) -> JobRecord:
    """Read a job; its instants are right to the millisecond."""
    policy = {name: document[name] for name in ("max_attempts", "max_charges") if document[name] is not None}
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
        error=document["error"],
        result=_result(document["results"]),
        cancelled=document["cancelled"] or "",
        cancel_requested=document["cancel_requested"],
        resumable=document["resumable"],
    )


def _result(documents: Sequence[Document]) -> dict[str, Any] | None:
    """Read all images as one result, in the store's form."""
    images = [_image(one) for one in documents]
    if not images:
        return None
    return {**images[0], "others": images[1:]} if images[1:] else images[0]


def _image(document: Document) -> dict[str, Any]:
    known = {name: document[name] for name in Image.__dataclass_fields__ if name in document}
    return {"name": name_in(document["url"]), **known}


def _charge(document: Document) -> Charge:
    asked_at, answered_at = _instant(document["at"]), _instant(document["answered_at"])
    return Charge(document["fence"], asked_at or 0.0, document["class"] or "", answered_at)


def delivery_from(document: Document) -> DeliveryRecord:
    """Read a delivery with its attempts."""
    same = ("id", "sequence", "type", "receiver", "tenant", "state", "attempt")
    return DeliveryRecord(
        job=document["job_id"],
        log=[{**attempt, "at": _instant(attempt["at"])} for attempt in document["attempts"]],
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


def preview_from(document: Document) -> Preview:
    """Read what a bulk run would do."""
    return Preview(**{name: document[name] for name in Preview.__dataclass_fields__})


def bulk_run_from(document: Document) -> BulkRun:
    """Read a bulk run; what only workers need is left out."""
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


def lane_from(document: Document) -> LaneNumbers:
    """Read how a lane stands."""
    return LaneNumbers(**{name: document[name] for name in LaneNumbers.__dataclass_fields__})


def _instant(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
