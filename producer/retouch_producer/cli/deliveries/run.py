"""Lists deliveries. Redelivers them, and prints the outcome of each on a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain

from retouch.batches import batched
from retouch.store.deliveries import DeliveryRecord
from retouch_producer.cli import parsing
from retouch_producer.cli.context import CommandContext, open_context
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.render import ago, print_table
from retouch_producer.cli.render_outcomes import exit_code, print_outcomes
from retouch_producer.documents import delivery_document


def show_deliveries(job: str | None, since: str | None, limit: int, *, dead: bool, as_json: bool) -> None:
    """Print deliveries as a table, or as a JSON array with every attempt."""
    at = parsing.since(since)
    with open_context() as context:
        records = _deliveries(context, job, at, limit, dead=dead)
    if as_json:
        print(json.dumps([delivery_document(record) for record in records], indent=2))
        return
    head = ("ID", "STATE", "EVENT", "RECEIVER", "AGE", "ATTEMPT", "LAST", "NEXT")
    print_table(head, [_delivery_row(record) for record in records], "no delivery")


def _deliveries(
    context: CommandContext, job: str | None, since: float, limit: int, *, dead: bool
) -> list[DeliveryRecord]:
    if job is None:
        return context.queue.deliveries(dead=dead, since=since, limit=limit)
    records = context.queue.job(context.record(job).id).deliveries()
    recent = (record for record in records if (record.created_at or 0) >= since)
    return [record for record in recent if record.state == "dead" or not dead][:limit]


def _delivery_row(record: DeliveryRecord) -> tuple[object, ...]:
    due = ago(record.due_at) if record.state == "retrying" else ""
    event = record.id, record.state, record.type, record.receiver, ago(record.created_at)
    return *event, record.attempt, last_answer(record), due


def last_answer(record: DeliveryRecord) -> str:
    """
    Return the HTTP status of the last attempt, or the reason if it got no answer. Return `-` before the first attempt.
    """
    if not record.log:
        return "-"
    last = record.log[-1]
    return str(last.status or last.trouble or "-")


def redeliver_all(
    ids: Sequence[str] | None, receiver: str | None, since: str | None, *, dead: bool, as_json: bool
) -> int:
    """
    Redeliver the deliveries with the given ids, or all deliveries that `receiver`, `since` and `dead` select.

    Print the outcome of each delivery. Return exit code 2 if an id is unknown, 1 if a delivery's job is no longer on
    record, else 0.
    """
    if bool(ids) == bool(receiver or dead):
        raise UsageError("expected ids, or --dead, or --receiver ID --since TIME")
    if receiver and not since:
        raise UsageError(
            "--receiver: expected --since too; without it the deliveries of a whole month would be sent again"
        )
    at = parsing.since(since)
    with open_context() as context:
        outcomes: dict[str, str] = {}
        for chunk in batched(parsing.ids(ids) if ids else _selected_ids(context, receiver, at, dead=dead), 100):
            outcomes |= context.queue.redeliver(chunk)
    print_outcomes(outcomes, as_json, "no delivery")
    return exit_code(outcomes.values(), {"redelivered", "open"})


def _selected_ids(context: CommandContext, receiver: str | None, since: float, *, dead: bool) -> Iterator[str]:
    store = context.connections.deliveries
    # Callbacks are deliveries to `task:NAME`, for which no receiver is stored.
    stored = context.connections.receivers.get(receiver) if receiver and not receiver.startswith("task:") else None
    if receiver and not stored and not receiver.startswith("task:"):
        raise UsageError(f"--receiver: unknown receiver {receiver[:60]!r}; `retouch receivers list` names them")
    if stored and not dead:
        pages = store.pages_to_receiver(stored.tenant, stored.id, since=since)
    else:
        # All ids first: a dead delivery that is sent again leaves the index that is read.
        all_ids = list(store.ids(dead=dead, since=since))
        pages = (store.matching_ids(page, receiver=receiver or "") for page in batched(all_ids, 500))
    return chain.from_iterable(pages)
