"""`retouch batch`: reads and checks all rows, runs the batch, prints the report."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retouch.batches import batched
from retouch.options import JobOptions
from retouch_producer.cli.batch.manifest import Manifest, own_folder
from retouch_producer.cli.batch.row_runner import BatchRun
from retouch_producer.cli.batch.rows import Row, read_rows
from retouch_producer.cli.context import CommandContext, open_context
from retouch_producer.cli.edit_request import terms_of
from retouch_producer.documents import Document

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class BatchCommand:
    """The arguments of `retouch batch`. `options` are arguments for `EditQueue.enqueue`, the same for every row."""

    file: Path
    out: Path | None
    options: JobOptions
    retry_failed: bool
    as_json: bool


def run_batch(command: BatchCommand) -> int:
    """
    Run a batch and print the report. Return exit code 0 if every row is saved, 1 if a row failed, or 130 after Ctrl-C.
    """
    folder = command.out or Path.cwd() / f"{command.file.stem}-edited"
    with open_context() as context:
        terms = terms_of(command.options, context.admission_settings(command.options.get("callback")))
        rows = read_rows(command.file, terms, context.input_link)
        with own_folder(folder), _progress(len(rows)) as on_done:
            manifest = Manifest(folder)
            run = BatchRun(context, rows, manifest, folder, on_done)
            try:
                run.execute(command.options, retry_failed=command.retry_failed)
            except KeyboardInterrupt:
                print("\ninterrupted; enqueued jobs go on. Run the same command again to continue.", file=sys.stderr)
                return INTERRUPTED
            # Also a run that ends early must record what it did, for the next run.
            finally:
                manifest.save()
        return _report(context, run, command.as_json)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("rows", total=total)
        yield lambda count: progress.advance(task, count)


def _report(context: CommandContext, run: BatchRun, as_json: bool) -> int:
    failed = [_failure(row, run) for row in run.rows if run.entry(row).state == "failed"]
    charges = _charges(context, run)
    summary = {
        "rows": len(run.rows),
        "saved": len(run.rows) - len(failed),
        "saved_before": run.saved_before,
        "failed": failed,
        "possible_charges": charges,
        "folder": str(run.folder),
        "manifest": str(run.manifest.path),
    }
    if as_json:
        print(json.dumps(summary, indent=2))
        return 1 if failed else 0
    before = f", {run.saved_before} of them before" if run.saved_before else ""
    print(f"{summary['saved']} of {len(run.rows)} rows saved in {run.folder}{before}; possible charges {charges}")
    for row in failed:
        line = f"line {row['line']}"
        row_name = line if row["row"] == line else f"{line} ({row['row']})"
        print(f"{row_name} failed: {row['code']}: {row['message']}", file=sys.stderr)
    if failed:
        print("--retry-failed replays them, which may cost again", file=sys.stderr)
    return 1 if failed else 0


def _failure(row: Row, run: BatchRun) -> Document:
    entry = run.entry(row)
    return {"line": row.line, "row": row.label, "job": entry.job or None, "code": entry.code, "message": entry.message}


def _charges(context: CommandContext, run: BatchRun) -> int:
    """Return the number of possible charges of all rows. Jobs that are no longer on record do not count."""
    jobs = [job for row in run.rows if (job := run.entry(row).job)]
    records = (record for ids in batched(jobs, 500) for record in context.records(ids))
    return sum(charge.possible for record in records for charge in record.charges)
