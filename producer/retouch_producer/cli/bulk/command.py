"""The commands of `retouch bulk`, and `retouch priority`, with their arguments and options."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from retouch_producer.cli.options import DryRun, Json, Limit, NoWait, TenantFilter

app = typer.Typer(
    help="Actions on all jobs that match a query: list, show, abort.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id: bk_…")]
Level = Annotated[Literal["high", "normal", "low"], typer.Argument(metavar="LEVEL", help="high, normal or low.")]
Which = Annotated[str, typer.Option("--query", metavar="QUERY", help="The jobs; docs/queries.md has the fields.")]


@app.command("list")
def list_all(limit: Limit = 50, json: Json = False) -> None:
    """List the runs of the last 90 days, newest first."""
    from retouch_producer.cli.bulk.run import list_runs

    list_runs(limit, as_json=json)


@app.command()
def show(run_id: RunId, json: Json = False) -> None:
    """Show one run: its action and query, its preview, its progress, and the outcomes so far."""
    from retouch_producer.cli.bulk.run import show_run

    show_run(run_id, as_json=json)


@app.command()
def abort(run_id: RunId, json: Json = False) -> None:
    """Abort a run; what it has done is not undone. Exit 1 if the run was over already."""
    from retouch_producer.cli.bulk.run import abort_run

    raise typer.Exit(abort_run(run_id, as_json=json))


def priority(
    level: Level,
    query: Which,
    tenant: TenantFilter = None,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Set the priority of waiting jobs that match a query; a job that holds a slot keeps its priority."""
    from retouch_producer.cli.bulk.run import act

    raise typer.Exit(act("priority", query, tenant, level, dry_run=dry_run, no_wait=no_wait, as_json=json))
