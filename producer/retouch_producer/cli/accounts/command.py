"""The commands of `retouch accounts`, with their arguments and options."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.options import Json

app = typer.Typer(
    help="Accounts of the endpoint: list, show, test, pause, drain, resume.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The account's id in the accounts file.")]
Wait = Annotated[
    float, typer.Option("--wait-s", min=0.0, max=3600.0, help="Maximum wait for the job that tests the account.")
]


@app.command("list")
def list_all(json: Json = False) -> None:
    """Show the state of each account: limit, slots held, what jobs wait for, workers, calls and cost of today."""
    from retouch_producer.cli.accounts.run import list_accounts

    list_accounts(as_json=json)


@app.command()
def show(account: Id, json: Json = False) -> None:
    """Show one account: its settings, its state, and what today's calls yielded."""
    from retouch_producer.cli.accounts.run import show_account

    show_account(account, as_json=json)


@app.command("test")
def send_test(account: Id, wait_s: Wait = 60.0) -> None:
    """Let one job through to a closed account, and wait for the answer; exit 1 unless the account is open then."""
    from retouch_producer.cli.accounts.run import test_account

    raise typer.Exit(test_account(account, wait_s))


@app.command()
def pause(account: Id) -> None:
    """Send neither calls nor polls to an account; calls under way end, and new jobs go to other accounts."""
    from retouch_producer.cli.accounts.run import pause_account

    pause_account(account)


@app.command()
def drain(account: Id) -> None:
    """Send no new calls to an account; its work in progress is polled to its end."""
    from retouch_producer.cli.accounts.run import drain_account

    drain_account(account)


@app.command()
def resume(account: Id) -> None:
    """End a pause or a drain. An account that the endpoint closed needs a test."""
    from retouch_producer.cli.accounts.run import resume_account

    resume_account(account)
