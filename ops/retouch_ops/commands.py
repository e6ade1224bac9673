"""The commands that run and watch Retouch: their options and help. Each command calls a module of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from retouch_ops.stack_discovery import DEFAULT_STATE

PANEL = "Run and watch"

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Port = Annotated[
    int | None, typer.Option("--port", min=1, max=65_535, help="Port of the gateway; by default RETOUCH_GATEWAY_PORT.")
]
State = Annotated[Path, typer.Option("--state", help="Folder that keeps Redis data, images and ports.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Empty the state folder first.")]
Accounts = Annotated[
    int,
    typer.Option("--accounts", min=0, max=12, help="Simulated accounts, which allow 5, 10, 15… requests in flight."),
]
Lanes = Annotated[str, typer.Option("--lanes", help="Lanes to work on, comma-separated: edits, deliveries.")]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, max=1000, help="Threads of each process.")]
Processes = Annotated[int, typer.Option("--processes", min=1, max=64, help="Worker processes.")]
Name = Annotated[str | None, typer.Option("--name", help="Workers are called NAME-1, NAME-2…; unique on this host.")]
Only = Annotated[list[str] | None, typer.Option("--only", help="Run only this check; repeatable.")]
Measurements = Annotated[
    list[str] | None,
    typer.Argument(
        help="Measurements to run: enqueue, bulk, gateway, webhook, in-flight, cpu, depth, idle, retries, million, "
        "neighbour, replay."
    ),
]
Size = Annotated[
    Literal["small", "full"],
    typer.Option("--scale", help="small takes seconds, full up to 90 s for most measurements."),
]
Export = Annotated[
    bool, typer.Option("--export", help="Print the settings of the stack that runs in this folder, as lines for eval.")
]
Expect = Annotated[list[str] | None, typer.Option("--worker", help="Name of a worker that must answer; repeatable.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the app of the `retouch` command."""
    for command in (up, demo, worker, flower, gateway, doctor, settings, bench):
        app.command(rich_help_panel=PANEL)(command)
    # The simulator parses its options itself, also --help, so they are passed on unchanged.
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(rich_help_panel=PANEL, context_settings=passed_on, add_help_option=False)(simulator)


def up(port: Port = None, state: State = DEFAULT_STATE, fresh: Fresh = False, accounts: Accounts = 0) -> None:
    """Run the whole local stack until Ctrl-C; its data stays in the state folder."""
    from retouch_ops.stack.command import run_until_stopped

    run_until_stopped(state, port=port, fresh=fresh, accounts=accounts)


def demo() -> None:
    """Edit one photograph through the whole path, then stop; it takes less than a minute and costs nothing."""
    from retouch_ops.demo import run_demo

    run_demo()


def worker(
    lanes: Lanes = "edits,deliveries", concurrency: Concurrency = 32, processes: Processes = 1, name: Name = None
) -> None:
    """Run worker processes; one that dies is started again."""
    from retouch_ops.worker_command import run_workers

    run_workers(lanes, concurrency=concurrency, processes=processes, name=name)


def flower() -> None:
    """Run Flower, the page that shows Celery's workers and tasks."""
    from retouch_ops.flower_command import run_flower

    run_flower()


def gateway(port: Port = None) -> None:
    """Run the HTTP gateway."""
    from retouch_producer.gateway.server import serve

    serve(port=port)


def simulator(context: typer.Context) -> None:
    """Run the simulator of the endpoint, which edits pictures and charges nothing; its --help lists the options."""
    from retouch_ops.simulator.__main__ import simulator as run_simulator

    standalone = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    standalone.command()(run_simulator)
    standalone(context.args, prog_name="retouch simulator")


def doctor(json: Json = False, only: Only = None, worker: Expect = None) -> None:
    """Check Redis, store, endpoint, workers and settings; each finding says what is wrong and what to do."""
    from retouch_ops.doctor.command import examine

    if not examine(as_json=json, only=only or (), expected_workers=worker or ()):
        raise typer.Exit(1)


def settings(json: Json = False, export: Export = False) -> None:
    """Show every setting with its unit, default, value and origin; secrets are masked."""
    from retouch_ops import settings_table

    if export:
        settings_table.export()
    else:
        settings_table.show(as_json=json)


def bench(names: Measurements = None, scale: Size = "full", json: Json = False) -> None:
    """Measure what Retouch costs, compared with no queue and with plain Celery."""
    from retouch_ops.bench.command import run

    if not run(names or (), scale, as_json=json):
        raise typer.Exit(1)
