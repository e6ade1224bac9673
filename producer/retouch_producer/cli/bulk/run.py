"""Previews, starts, follows and aborts bulk runs, and prints their outcomes."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict

from retouch.store.bulk import BulkRun, Preview
from retouch.sync_async import run_sync
from retouch.transport.bulk_interface import BulkAsk
from retouch_producer.cli.context import CommandContext, open_context
from retouch_producer.cli.render import ago, print_table
from retouch_producer.documents import bulk_document

_LOOK_EVERY_S = 0.5
_NO_WORKER_S = 10.0


def act(
    action: str,
    query: str,
    tenant: str | None,
    priority: str | None = None,
    *,
    dead: bool = False,
    dry_run: bool,
    no_wait: bool,
    as_json: bool,
) -> int:
    """
    Start an action on all jobs that match a query, wait for the end of the run, and print its outcomes.

    With `dry_run`, only print a preview. With `no_wait`, do not wait. Ctrl-C ends only the wait. Return exit code 1 if
    the run was aborted, else 0.
    """
    with open_context() as context:
        ask = BulkAsk(action, query, tenant, priority, dead)
        if dry_run:
            _print_preview(action, run_sync(context.transport.bulk.preview(ask)), as_json=as_json)
            return 0
        run = run_sync(context.transport.bulk.start(ask))
        if not as_json:
            print(f"{run.id}  {action}: {preview_text(action, run.preview)}")
        if not no_wait:
            run = _followed(context, run)
        if as_json:
            print(json.dumps(bulk_document(run), indent=2))
        else:
            print(f"{run.id}  {run.state}: {outcomes_text(run)}")
    return int(run.state == "aborted")


def _followed(context: CommandContext, run: BulkRun) -> BulkRun:
    """
    Wait for the end of a run or for Ctrl-C, and return the latest state of the run.

    Print a warning if no worker has begun the run after ten seconds.
    """
    began_at, has_warned = time.monotonic(), False
    try:
        while not run.is_over:
            time.sleep(_LOOK_EVERY_S)
            run = run_sync(context.transport.bulk.find(run.id))
            if run.state == "queued" and not has_warned and time.monotonic() - began_at > _NO_WORKER_S:
                has_warned = True
                print(
                    f"retouch: no worker has begun {run.id} yet; it waits for one. Ctrl-C leaves it.", file=sys.stderr
                )
    except KeyboardInterrupt:
        print(f"retouch: {run.id} goes on; `retouch bulk show {run.id}` shows it", file=sys.stderr)
    return run


def _print_preview(action: str, preview: Preview, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(preview), indent=2))
        return
    print(f"{action} would act on {preview_text(action, preview)}; nothing was changed")


def preview_text(action: str, preview: Preview) -> str:
    """Return one line that describes a preview."""
    words = f"{preview.jobs:,} jobs" if preview.is_complete else f"more than {preview.jobs:,} jobs"
    if action == "redeliver":
        words = f"{preview.deliveries:,} deliveries of {words}"
    if action == "replay":
        counted = ":" if preview.is_complete else "; of those that were counted,"
        words += f"{counted} {preview.resume_free:,} resume free, the others make at most {preview.calls_most:,} calls"
    return words


def outcomes_text(run: BulkRun) -> str:
    """Return one line with the number of items for each outcome so far, or `nothing to do`."""
    return ", ".join(f"{count:,} {outcome}" for outcome, count in run.outcomes.items()) or "nothing to do"


def list_runs(limit: int, *, as_json: bool) -> None:
    """Print up to `limit` runs, newest first, as a table or as a JSON array."""
    with open_context() as context:
        runs = run_sync(context.transport.bulk.page(limit))
    if as_json:
        print(json.dumps([bulk_document(run) for run in runs], indent=2))
        return
    head = ("ID", "STATE", "ACTION", "AGE", "BY", "JOBS", "ACTED ON", "OUTCOMES", "QUERY")
    print_table(head, [_row(run) for run in runs], "no bulk run")


def _row(run: BulkRun) -> tuple[object, ...]:
    by = run.actor.name or run.actor.key or run.actor.surface
    counts = run.preview.jobs, run.acted_on, outcomes_text(run)
    return run.id, run.state, run.request.action, ago(run.created_at), by, *counts, str(run.request.query)


def show_run(run_id: str, *, as_json: bool) -> None:
    """Print one run, as text or as a JSON object."""
    with open_context() as context:
        run = run_sync(context.transport.bulk.find(run_id))
        document = bulk_document(run)
    if as_json:
        print(json.dumps(document, indent=2))
        return
    print(f"{run.id}  {run.state}, {run.request.action} asked for {ago(run.created_at)} ago")
    by = " ".join(part for part in (run.actor.surface, run.actor.key, run.actor.name, run.actor.role) if part)
    print(f"by        {by}")
    print(f"query     {run.request.query}")
    print(f"preview   {preview_text(run.request.action, run.preview)}")
    print(f"acted on  {run.acted_on:,}: {outcomes_text(run)}")


def abort_run(run_id: str, *, as_json: bool) -> int:
    """Abort a run and print its outcomes. Return exit code 1 if the run was over already, else 0."""
    with open_context() as context:
        outcome = run_sync(context.transport.bulk.abort(run_id))
        run = run_sync(context.transport.bulk.find(run_id))
        document = bulk_document(run)
    print(json.dumps(document, indent=2) if as_json else f"{run.id}  {outcome}: {outcomes_text(run)}")
    return int(outcome != "aborted")
