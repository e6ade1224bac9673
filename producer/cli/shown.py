"""What the listing commands print."""

from __future__ import annotations

import json

from producer.cli import listing, words
from producer.cli.desk import Desk, open_desk
from producer.cli.one_edit import charges_line
from producer.cli.tables import ago, print_table
from producer.documents import delivery_document, lane_document
from retouch.events import charge_summary
from retouch.store.deliveries import DeliveryRecord
from retouch.store.lanes import LANES
from retouch.store.records import JobRecord


def show_jobs(state: str | None, tenant: str | None, since: str | None, limit: int, *, as_json: bool) -> None:
    """Print jobs, as a table or as a JSON array."""
    at = words.since(since)
    with open_desk() as desk:
        found = list(listing.jobs(desk, state, tenant, at, limit))
        if as_json:
            print(json.dumps([desk.document(record) for record in found], indent=2))
            return
    head = ("ID", "STATE", "TENANT", "PRIORITY", "AGE", "ATTEMPT", "CHARGES", "NOTE")
    print_table(head, [_job_row(record) for record in found], "no job")


def _job_row(record: JobRecord) -> tuple[object, ...]:
    charges = charges_line(charge_summary(record.charges, 0.0))
    note = record.cancelled.replace("_", " ") or (record.error or {}).get("code", "")
    if record.due_at:
        note = f"{note}, again {ago(record.due_at)}"
    spec = record.spec
    return record.id, record.state, spec.tenant, spec.priority, ago(record.created_at), record.attempt, charges, note


def show_deliveries(job: str | None, since: str | None, limit: int, *, dead: bool, as_json: bool) -> None:
    """Print deliveries, as a table or as a JSON array with every attempt."""
    at = words.since(since)
    with open_desk() as desk:
        found = _deliveries(desk, job, at, limit, dead=dead)
    if as_json:
        print(json.dumps([delivery_document(record) for record in found], indent=2))
        return
    head = ("ID", "STATE", "EVENT", "RECEIVER", "AGE", "ATTEMPT", "LAST", "NEXT")
    print_table(head, [_delivery_row(record) for record in found], "no delivery")


def _deliveries(desk: Desk, job: str | None, since: float, limit: int, *, dead: bool) -> list[DeliveryRecord]:
    if job is None:
        return desk.queue.deliveries(dead=dead, since=since, limit=limit)
    own = desk.queue.job(desk.record(job).id).deliveries()
    return [one for one in own if (one.created_at or 0) >= since and (one.state == "dead" or not dead)][:limit]


def _delivery_row(record: DeliveryRecord) -> tuple[object, ...]:
    due = ago(record.due_at) if record.state == "retrying" else ""
    return (
        record.id, record.state, record.type, record.receiver, ago(record.created_at), record.attempt,
        last_answer(record), due,
    )  # fmt: skip


def last_answer(record: DeliveryRecord) -> str:
    """Say what the last attempt saw: a status, or the trouble."""
    if not record.log:
        return "-"
    last = record.log[-1]
    return str(last["status"] or last.get("trouble") or "-")


def show_status(*, as_json: bool) -> None:
    """Print how both lanes stand, and what has ended since ever."""
    with open_desk() as desk:
        lanes = {lane: desk.queue.status(lane) for lane in LANES}
        ended = desk.ended()
    if as_json:
        print(json.dumps({**{lane: lane_document(lanes[lane]) for lane in LANES}, "ended": ended}, indent=2))
        return
    head = ("LANE", "WAITING", "IN FLIGHT", "LIMIT", "PARKED", "DEAD", "")
    rows = [
        (lane, n.waiting, n.held, n.limit, n.parked, n.dead, "paused" if n.paused else "") for lane, n in lanes.items()
    ]
    print_table(head, rows, "")
    for lane, numbers in lanes.items():
        for group, depth in sorted(numbers.waiting_by_group.items(), key=lambda pair: -pair[1])[:20]:
            print(f"{lane}: {depth} waiting of {group}")
    print("ended: " + (", ".join(f"{count} {state}" for state, count in sorted(ended.items())) or "nothing yet"))
