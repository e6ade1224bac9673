"""The arguments and options of `retouch jobs`, `job`, `watch`, `cancel`, `replay`, `approve` and `unapprove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.options import DryRun, JobId, Json, Limit, NoWait, OfQuery, OptionalIds, Since, TenantFilter

State = Annotated[
    str | None, typer.Option("--state", help="queued, running, polling, retrying, succeeded, failed or cancelled.")
]
QueryText = Annotated[str | None, typer.Argument(metavar="[QUERY]", help="The jobs; docs/queries.md lists the fields.")]
Save = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Save the image too; exit code 1 if the job has none.")
]


def jobs(
    query: QueryText = None,
    state: State = None,
    tenant: TenantFilter = None,
    since: Since = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List jobs, newest first: all, or those that match a query such as 'state:failed code:spam_filter since:2h'."""
    from retouch_producer.cli.jobs.run import show_jobs

    show_jobs(query, state, tenant, since, limit, as_json=json)


def job(job_id: JobId, out: Save = None, json: Json = False) -> None:
    """Show one job: its request, timeline, charges and deliveries."""
    from retouch_producer.cli.jobs.show import show_job

    raise typer.Exit(show_job(job_id, out, as_json=json))


def watch(ids: OptionalIds = None, json: Json = False) -> None:
    """Watch the lanes and all events as they happen; with ids, watch only those jobs, until they end."""
    from retouch_producer.cli.jobs.watch import watch_all, watch_jobs

    raise typer.Exit(watch_jobs(ids, as_json=json) if ids else watch_all(as_json=json))


Failed = Annotated[bool, typer.Option("--failed", help="All failed jobs; with --since, those that failed since then.")]


def cancel(
    ids: OptionalIds = None,
    query: OfQuery = None,
    tenant: TenantFilter = None,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Cancel jobs. A job whose call is in flight ends with that call, and its charge stays on record."""
    from retouch_producer.cli.bulk.run import act
    from retouch_producer.cli.jobs.run import cancel_jobs

    if query is not None and not ids:
        raise typer.Exit(act("cancel", query, tenant, dry_run=dry_run, no_wait=no_wait, as_json=json))
    if query is not None or tenant or dry_run or no_wait:
        raise UsageError("expected ids, or --query, optionally with --tenant, --dry-run and --no-wait")
    raise typer.Exit(cancel_jobs(ids or [], as_json=json))


def replay(
    ids: OptionalIds = None,
    query: OfQuery = None,
    tenant: TenantFilter = None,
    failed: Failed = False,
    since: Since = None,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Replay failed or cancelled jobs, and print for each whether it resumes a paid answer or POSTs again."""
    from retouch_producer.cli.bulk.run import act
    from retouch_producer.cli.jobs.run import replay_jobs

    if query is not None and not (ids or failed or since):
        raise typer.Exit(act("replay", query, tenant, dry_run=dry_run, no_wait=no_wait, as_json=json))
    if query is not None or tenant or no_wait:
        raise UsageError("expected ids; or --failed and --since; or --query, optionally with --tenant and --no-wait")
    raise typer.Exit(replay_jobs(ids, since, failed=failed, dry_run=dry_run, as_json=json))


def approve(ids: OptionalIds = None, json: Json = False) -> None:
    """Mark the results of jobs as approved; `retouch job` then shows when, and by whom."""
    from retouch_producer.cli.jobs.run import mark_jobs

    raise typer.Exit(mark_jobs(ids or [], approved=True, as_json=json))


def unapprove(ids: OptionalIds = None, json: Json = False) -> None:
    """Take the marks of approved results back."""
    from retouch_producer.cli.jobs.run import mark_jobs

    raise typer.Exit(mark_jobs(ids or [], approved=False, as_json=json))
