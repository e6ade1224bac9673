"""List deliveries and send them again, and print what became of each."""

from __future__ import annotations

import json
from collections.abc import Sequence

from retouch.batches import batched
from retouch.store.deliveries import DeliveryRecord
from retouch_producer.cli import parsing, selection
from retouch_producer.cli.context import CommandContext, open_context
from retouch_producer.cli.errors import WrongUse
from retouch_producer.cli.render import ago, print_table
from retouch_producer.cli.render_outcomes import exit_code, print_outcomes
from retouch_producer.documents import delivery_document


def show_deliveries(job: str | None, since: str | None, limit: int, *, dead: bool, as_json: bool) -> None:
    """Print deliveries, as a table or as a JSON array with every attempt."""
    at = parsing.since(since)
    with open_context() as context:
        found = _deliveries(context, job, at, limit, dead=dead)
    if as_json:
        print(json.dumps([delivery_document(record) for record in found], indent=2))
        return
    head = ("ID", "STATE", "EVENT", "RECEIVER", "AGE", "ATTEMPT", "LAST", "NEXT")
    print_table(head, [_delivery_row(record) for record in found], "no delivery")


def _deliveries(
    context: CommandContext, job: str | None, since: float, limit: int, *, dead: bool
) -> list[DeliveryRecord]:
    if job is None:
        return context.queue.deliveries(dead=dead, since=since, limit=limit)
    own = context.queue.job(context.record(job).id).deliveries()
    return [one for one in own if (one.created_at or 0) >= since and (one.state == "dead" or not dead)][:limit]


def _delivery_row(record: DeliveryRecord) -> tuple[object, ...]:
    due = ago(record.due_at) if record.state == "retrying" else ""
    event = record.id, record.state, record.type, record.receiver, ago(record.created_at)
    return *event, record.attempt, last_answer(record), due


def last_answer(record: DeliveryRecord) -> str:
    """Say what the last attempt saw: a status, or the trouble."""
    if not record.log:
        return "-"
    last = record.log[-1]
    return str(last["status"] or last.get("trouble") or "-")


def redeliver_all(
    given: Sequence[str] | None, receiver: str | None, since: str | None, *, dead: bool, as_json: bool
) -> int:
    """
    Send the deliveries named again, or a receiver's since a time, or the dead ones.

    1 for those whose job is no longer on record, 2 for unknown ones.
    """
    if bool(given) == bool(receiver or dead):
        raise WrongUse("expected ids, or --dead, or --receiver ID --since TIME")
    if receiver and not since:
        raise WrongUse("--receiver: expected --since beside it, so that not all of a month is sent again")
    at = parsing.since(since)
    with open_context() as context:
        told: dict[str, str] = {}
        for piece in batched(parsing.ids(given) if given else _meant(context, receiver, at, dead=dead), 100):
            told |= context.queue.redeliver(piece)
    print_outcomes(told, as_json, "no delivery")
    return exit_code(told.values(), {"redelivered", "open"})


def _meant(context: CommandContext, receiver: str | None, since: float, *, dead: bool) -> list[str]:
    if receiver and not receiver.startswith("task:") and context.connections.receivers.get(receiver) is None:
        raise WrongUse(f"--receiver: {receiver[:60]!r} is no receiver; `retouch receivers list` names them")
    found = selection.deliveries(context, since, lambda one: receiver in (None, one.receiver), dead=dead)
    return [record.id for record in found]
