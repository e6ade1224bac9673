"""
The `retouch` command, for producers and for operators.

A command imports its modules only when it runs, so that `retouch --help` is quick. An error of ours is printed as one
line on standard error. The exit code is 0 for success, 1 if the job or a check failed, and 2 for a usage error.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

import retouch_ops.commands
import retouch_producer.cli
from retouch.errors import (
    EditFailed,
    IdempotencyConflict,
    InvalidEdit,
    InvalidQuery,
    RetouchError,
    SettingsError,
    UnknownJob,
)
from retouch_ops.stack_discovery import adopt_running_stack

USAGE_ERRORS = (InvalidEdit, InvalidQuery, SettingsError, UnknownJob, IdempotencyConflict)

app = typer.Typer(
    name="retouch",
    help="A durable, money-safe queue in front of a paid image-editing endpoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"retouch {version('retouch')}")
        raise typer.Exit


@app.callback()
def before_every_command(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """A durable, money-safe queue in front of a paid image-editing endpoint."""
    adopt_running_stack()


retouch_producer.cli.register(app)
retouch_ops.commands.register(app)


def exit_code(error: RetouchError) -> int:
    """Return 2 if the request is wrong, so that a repetition would fail too. Return 1 for any other error."""
    is_usage_error = isinstance(error, USAGE_ERRORS) or getattr(error, "is_usage_error", False)
    return 2 if is_usage_error else 1


def main() -> None:
    """Run the command line. An error of ours is printed as one line without a traceback, and ends the process."""
    try:
        app()
    except RetouchError as error:
        typer.echo(f"retouch: {error}", err=True)
        if isinstance(error, EditFailed):
            typer.echo(f"What to do: docs/runbook.md#{error.code}. What happened: retouch job {error.job_id}", err=True)
        sys.exit(exit_code(error))
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        typer.echo(f"retouch: this command needs {missing}: install retouch-ops, which brings all packages", err=True)
        sys.exit(1)
    except OSError as error:
        # Such as a full disk, a port in use, a file without permission: the system's own text names the cause best.
        where = f": {error.filename}" if error.filename else ""
        typer.echo(f"retouch: {error.strerror or error}{where}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
