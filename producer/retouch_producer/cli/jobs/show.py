"""`retouch job`: prints all that is on record about one job."""

from __future__ import annotations

import json
from pathlib import Path

from retouch.events import Event
from retouch.store.records import JobRecord
from retouch_producer.cli import output_file
from retouch_producer.cli.context import CommandContext, open_context
from retouch_producer.cli.edit.run import charges_line
from retouch_producer.documents import Document, delivery_document, raw_answer_document


def show_job(identity: str, out: Path | None, *, as_json: bool) -> int:
    """
    Print one job, save its images if `out` is given, and return exit code 0.

    Raises an error if `out` is given and the job has no image.
    """
    output_file.check_target(out)
    with open_context() as context:
        record = context.record(identity)
        document = _document(context, record)
        if as_json:
            print(json.dumps(document, indent=2))
        else:
            print("\n".join(_lines(document)))
        if out is None:
            return 0
        # Raises an error, with an exit code of its own, if the job failed, was cancelled or is not done yet.
        for path in output_file.save(context.queue.job(identity).result(0), out, identity):
            print(f"saved     {path}")
        return 0


def _document(context: CommandContext, record: JobRecord) -> Document:
    return {
        **context.document(record),
        "wait": context.wait_of(record),
        "raw_answer": raw_answer_document(context.raw_answer(record.id)),
        "timeline": context.events(record.id)[0],
        "deliveries": [delivery_document(entry) for entry in context.queue.job(record.id).deliveries()],
    }


def _lines(document: Document) -> list[str]:
    edit = document["edit"]
    numbers = ", ".join(f"{name} {value}" for name, value in edit.items() if isinstance(value, int | float))
    lines = [
        f"{document['id']}  {document['state']}" + (", cancel requested" if document["cancel_requested"] else ""),
        f"tenant    {document['tenant']}, priority {document['priority']}",
        f"prompt    {edit['prompt'][:200]}",
        f"input     {edit['init_image']}",
        f"numbers   {numbers}",
    ]
    lines += [f"tag       {name}={value}" for name, value in document["tags"].items()]
    for image in document["results"]:
        lines += [f"result    {image['width']} x {image['height']} {image['format']}, {image['bytes']:,} bytes"]
        lines += [f"url       {image['url']}"] + [f"warning   {warning}" for warning in image["warnings"]]
    if document["approved_at"]:
        lines.append(f"approved  {document['approved_at']} by {document['approved_by']}")
    if document["error"]:
        lines.append(f"error     {document['error']['code']}: {document['error']['message']}")
    if document["cancelled"]:
        lines.append(f"cancelled {document['cancelled'].replace('_', ' ')}")
    if document["wait"]:
        lines.append(f"waits     {_wait_line(document['wait'])}")
    if document["worker"]:
        lines.append(f"worker    {document['worker']}")
    if document["account_reason"]:
        lines.append(f"account   {document['account']}, {document['account_reason']}")
    lines.append(f"charges   {charges_line(document['charges'])}")
    lines += [_charge_line(entry, names_account=bool(document["account_reason"])) for entry in document["charge_log"]]
    lines += ["timeline", *(f"  {event_line(event)}" for event in document["timeline"])]
    lines += [line for delivery in document["deliveries"] for line in _delivery_lines(delivery)]
    return lines


def _wait_line(wait: Document) -> str:
    place = f" It is number {wait['position']:,} in line." if wait["position"] else ""
    start = f" It starts at about {wait['estimated_start_at']}." if wait["estimated_start_at"] else ""
    return f"{wait['reason']}{place}{start}"


def _charge_line(entry: Document, *, names_account: bool) -> str:
    at = f" at {entry['account']}" if names_account else ""
    return f"  {entry['at']}  POST{at}: {entry['class'] or 'no answer on record'}"


def event_line(event: Document | Event) -> str:
    """Return a line for an event: its time, its type, and the error if there is one."""
    error = event["data"]["error"]
    return f"{event['timestamp']}  {event['type']}" + (f"  {error['code']}: {error['message']}" if error else "")


def _delivery_lines(delivery: Document) -> list[str]:
    head = f"delivery  {delivery['id']}  {delivery['type']} to {delivery['receiver']}: {delivery['state']}"
    return [head] + [
        f"  {entry['at']}  {entry['status'] or entry.get('trouble')}  {entry.get('latency_s', 0):g} s"
        for entry in delivery["attempts"]
    ]
