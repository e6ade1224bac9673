"""`retouch jobs`, `job`, `watch`, `cancel`, `replay`: their arguments and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retouch_producer.cli.options import Ids, JobId, Json, Limit, OptionalIds, Since, TenantFilter

State = Annotated[
    str | None, typer.Option("--state", help="queued, running, polling, retrying, succeeded, failed or cancelled.")
]
Save = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Save the image too; exit code 1 if the job has none.")
]


def jobs(
    state: State = None, tenant: TenantFilter = None, since: Since = None, limit: Limit = 50, json: Json = False
) -> None:
    """List jobs, newest first."""
    from retouch_producer.cli.jobs.run import show_jobs

    show_jobs(state, tenant, since, limit, as_json=json)


def job(job_id: JobId, out: Save = None, json: Json = False) -> None:
    """Show one job: its request, timeline, charges and deliveries."""
    from retouch_producer.cli.jobs.show import show_job

    raise typer.Exit(show_job(job_id, out, as_json=json))


def watch(ids: OptionalIds = None, json: Json = False) -> None:
    """Watch the lanes and all events as they happen; with ids, watch those jobs until they end."""
    from retouch_producer.cli.jobs.watch import watch_all, watch_jobs

    raise typer.Exit(watch_jobs(ids, as_json=json) if ids else watch_all(as_json=json))


Failed = Annotated[bool, typer.Option("--failed", help="All failed jobs; with --since, those that failed since then.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what it would do and cost.")]


def cancel(ids: Ids, json: Json = False) -> None:
    """Cancel jobs. A job whose call is in flight ends with that call, and its charge stays on record."""
    from retouch_producer.cli.jobs.run import cancel_jobs

    raise typer.Exit(cancel_jobs(ids, as_json=json))


def replay(
    ids: OptionalIds = None, failed: Failed = False, since: Since = None, dry_run: DryRun = False, json: Json = False
) -> None:
    """Replay failed or cancelled jobs, and print for each whether it resumes a paid answer or POSTs again."""
    from retouch_producer.cli.jobs.run import replay_jobs

    raise typer.Exit(replay_jobs(ids, since, failed=failed, dry_run=dry_run, as_json=json))
