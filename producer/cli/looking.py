"""The commands that look: `jobs`, `job`, `watch`, `deliveries`, `status`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producer.cli.options import JobId, Json, Limit, Since, SomeIds

State = Annotated[
    str | None, typer.Option("--state", help="queued, running, polling, retrying, succeeded, failed or cancelled.")
]
OneTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's; else all.")]
Dead = Annotated[bool, typer.Option("--dead", help="Only those that gave up.")]
OfJob = Annotated[str | None, typer.Option("--job", metavar="ID", help="Only those of one job.")]
Save = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Save the image too; exit 1 without one.")]


def jobs(
    state: State = None, tenant: OneTenant = None, since: Since = None, limit: Limit = 50, json: Json = False
) -> None:
    """List jobs, newest first."""
    from producer.cli.shown import show_jobs

    show_jobs(state, tenant, since, limit, as_json=json)


def job(job_id: JobId, out: Save = None, json: Json = False) -> None:
    """Show one job: what was asked, its timeline, charges and deliveries."""
    from producer.cli.shown_job import show_job

    raise typer.Exit(show_job(job_id, out, as_json=json))


def watch(ids: SomeIds = None, json: Json = False) -> None:
    """Watch the lanes and the events as they come; with ids, those jobs until they end."""
    from producer.cli.watching import watch_all, watch_jobs

    raise typer.Exit(watch_jobs(ids, as_json=json) if ids else watch_all(as_json=json))


def deliveries(
    dead: Dead = False, job: OfJob = None, since: Since = None, limit: Limit = 50, json: Json = False
) -> None:
    """List deliveries of webhooks and callbacks, newest first."""
    from producer.cli.shown import show_deliveries

    show_deliveries(job, since, limit, dead=dead, as_json=json)


def status(json: Json = False) -> None:
    """Show how both lanes stand: waiting, in flight, limit, dead letters."""
    from producer.cli.shown import show_status

    show_status(as_json=json)
