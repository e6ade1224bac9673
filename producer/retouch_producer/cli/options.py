"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

ENQUEUE_PANEL = "Enqueue edits"
MANAGE_PANEL = "Manage jobs and deliveries"

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="An age such as 15m, 1h or 2d, an ISO 8601 time or Unix seconds."),
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Before this time, in one of the forms of --since.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Maximum number of entries.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids; - reads them from standard input.")]
OptionalIds = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Ids; - reads them from standard input.")
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]
OfQuery = Annotated[
    str | None, typer.Option("--query", metavar="QUERY", help="All jobs that match; docs/queries.md lists the fields.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what the command would do and cost.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="With --query: do not wait for the end of the run.")]
Lane = Annotated[str, typer.Option("--lane", help="edits or deliveries.")]
Tenant = Annotated[str, typer.Option("--tenant", help="The tenant of the job.")]
TenantFilter = Annotated[str | None, typer.Option("--tenant", help="Only this tenant; all by default.")]
Priority = Annotated[str, typer.Option("--priority", help="high, normal or low.")]
Webhook = Annotated[
    str | None, typer.Option("--webhook", metavar="URL", help="URL that receives the job's final event, signed.")
]
