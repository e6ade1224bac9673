"""Lists, cancels, replays and approves jobs. Prints the outcome of each job on a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from retouch.errors import QueueFull, UnknownJob
from retouch.events import charge_summary
from retouch.store.records import JobRecord
from retouch_producer.cli import parsing, selection
from retouch_producer.cli.context import CommandContext, open_context
from retouch_producer.cli.edit.run import charges_line
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.render import ago, print_table
from retouch_producer.cli.render_outcomes import UNKNOWN, exit_code, print_outcomes


def show_jobs(
    text: str | None, state: str | None, tenant: str | None, since: str | None, limit: int, *, as_json: bool
) -> None:
    """
    Print jobs as a table or as a JSON array.

    If the query has a field without an index, print on standard error how many jobs were read.
    """
    query = selection.job_query(text, state, tenant, parsing.since(since))
    looked_at = list[int]()
    with open_context() as context:
        records = list(selection.jobs(context, query, limit, looked_at.append))
        if query.unindexed:
            names = " and ".join(f"{name}:" for name in query.unindexed)
            print(f"retouch: looked at {sum(looked_at):,} jobs, as {names} has no index", file=sys.stderr)
        if as_json:
            print(json.dumps([context.document(record) for record in records], indent=2))
            return
    head = ("ID", "STATE", "TENANT", "PRIORITY", "AGE", "ATTEMPT", "CHARGES", "NOTE")
    print_table(head, [_job_row(record) for record in records], "no job")


def _job_row(record: JobRecord) -> tuple[object, ...]:
    charges = charges_line(charge_summary(record.charges, 0.0))
    note = record.cancelled.replace("_", " ") or (record.error.code if record.error else "")
    if record.due_at:
        note = f"{note}, again {ago(record.due_at)}"
    spec = record.spec
    return record.id, record.state, spec.tenant, spec.priority, ago(record.created_at), record.attempt, charges, note


def cancel_jobs(ids: Sequence[str], *, as_json: bool) -> int:
    """
    Cancel jobs and print each outcome. Return exit code 2 if an id is unknown, 1 if a job had ended before, else 0.
    """
    with open_context() as context:
        outcomes = {job: _cancel(context, job) for job in parsing.ids(ids)}
    print_outcomes(outcomes, as_json)
    return exit_code(outcomes.values(), {"cancelled", "requested"})


def _cancel(context: CommandContext, job: str) -> str:
    try:
        return context.queue.cancel(job)
    except UnknownJob:
        return UNKNOWN


def mark_jobs(ids: Sequence[str], *, approved: bool, as_json: bool) -> int:
    """
    Mark the results of jobs as approved, or take the marks back, and print each outcome.

    Return exit code 2 if an id is unknown, 1 if a job has not succeeded, else 0.
    """
    with open_context() as context:
        outcomes = {job: _mark(context, job, approved=approved) for job in parsing.ids(ids)}
    print_outcomes(outcomes, as_json)
    return exit_code(outcomes.values(), {"approved", "unapproved", "unchanged"})


def _mark(context: CommandContext, job: str, *, approved: bool) -> str:
    try:
        return context.queue.approve(job) if approved else context.queue.unapprove(job)
    except UnknownJob:
        return UNKNOWN


def replay_jobs(ids: Sequence[str] | None, since: str | None, *, failed: bool, dry_run: bool, as_json: bool) -> int:
    """
    Replay the jobs with the given ids, or all jobs that failed since a time. With `dry_run`, replay nothing.

    Print the outcome and the possible cost of each job, and return the exit code. If a tenant has no room, leave its
    other jobs as they are, and print their number. Jobs of other tenants are still replayed.
    """
    if failed == bool(ids) or (since and not failed):
        raise UsageError("expected either ids, or --failed with an optional --since")
    at = parsing.since(since)
    with open_context() as context:
        jobs = list(context.connections.jobs.dead(at)) if failed else parsing.ids(ids or [])
        full: dict[str, QueueFull] = {}
        outcomes = {job: _replay(context, job, full, dry_run=dry_run) for job in jobs}
    print_outcomes(outcomes, as_json, "no dead letter")
    _report_remaining(outcomes, full)
    posts = sum("POSTs again" in outcome for outcome in outcomes.values())
    if posts and not as_json:
        verb = "would be" if dry_run else "are"
        print(f"{posts} of {len(outcomes)} {verb} POSTed again, and the endpoint may bill for them")
    words = (outcome.partition(":")[0] for outcome in outcomes.values())
    return exit_code(words, {"replayed", "would be replayed", "open"})


def _replay(context: CommandContext, job: str, full: dict[str, QueueFull], *, dry_run: bool) -> str:
    """
    Replay one job and return its outcome.

    `full` maps each tenant without room to the error that refused its job. If this job is refused, add its tenant.
    """
    record = next(iter(context.records([job])), None)
    if record is None:
        return UNKNOWN
    if dry_run:
        outcome = "would be replayed" if record.state in ("failed", "cancelled") else record.state
    else:
        outcome = _replay_if_room(context, record, full)
    return f"{outcome}: {replay_cost(record)}" if outcome.endswith("replayed") else outcome


def _replay_if_room(context: CommandContext, record: JobRecord, full: dict[str, QueueFull]) -> str:
    tenant = record.spec.tenant
    try:
        # Once a tenant is refused, its further jobs would be refused too: no round trip for them.
        if tenant not in full:
            return context.queue.replay(record.id)
    except UnknownJob:
        return UNKNOWN
    except QueueFull as error:
        full[tenant] = error
    return _no_room(tenant, full[tenant])


def _report_remaining(outcomes: dict[str, str], full: dict[str, QueueFull]) -> None:
    done = sum(outcome.startswith("replayed") for outcome in outcomes.values())
    for tenant, error in full.items():
        remaining = sum(outcome == _no_room(tenant, error) for outcome in outcomes.values())
        message = f"retouch: {done} of {len(outcomes)} were replayed; {remaining} were not"
        reason = f"tenant {tenant} has no room for them ({error.reason})"
        advice = f"Replay them in {error.retry_after_s:.0f} s, or raise its limit."
        print(f"{message}, {reason}. {advice}", file=sys.stderr)


def _no_room(tenant: str, error: QueueFull) -> str:
    return f"left: tenant {tenant} has no room ({error.reason})"


def replay_cost(record: JobRecord) -> str:
    """Return a text for people about the possible cost of a replay of this job."""
    if record.resumable:
        return "resumes from the paid answer, no new charge"
    possible = sum(charge.possible for charge in record.charges)
    before = f", after {possible} possible charge{'s' if possible > 1 else ''} so far" if possible else ""
    return f"POSTs again, a new charge{before}"
