"""`retouch receivers`: who is told of a tenant's jobs, with which secret, and whether they are reachable."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.options import Json

app = typer.Typer(
    help="Receivers of webhooks: add, list, test, rotate, disable, enable, remove.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Url = Annotated[str, typer.Argument(metavar="URL", help="Where events are POSTed.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The receiver's id.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Whose jobs it hears of.")]
OneTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's; else all.")]
Events = Annotated[
    list[str] | None, typer.Option("--event", metavar="TYPE", help="Which events; else those that end a job.")
]
ShowSecret = Annotated[bool, typer.Option("--show-secret", help="Show the secrets too.")]


@app.command()
def add(url: Url, tenant: Tenant = "default", event: Events = None, json: Json = False) -> None:
    """Let a URL hear of every job of a tenant; shows the secret that verifies what it gets."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.add(url, tenant, event or [], as_json=json)


@app.command("list")
def list_all(tenant: OneTenant = None, show_secret: ShowSecret = False, json: Json = False) -> None:
    """List receivers, those of single jobs too."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.list_all(tenant or "", show_secret=show_secret, as_json=json)


@app.command("test")
def send_test(receiver_id: Id, json: Json = False) -> None:
    """Send a signed test event now and show the answer; exit 1 when it is not 2xx."""
    from retouch_producer.cli.receivers import run as receiver_run

    raise typer.Exit(receiver_run.send_test(receiver_id, as_json=json))


@app.command()
def rotate(receiver_id: Id, json: Json = False) -> None:
    """Make a new secret and show it; the old one signs beside it for a day."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.rotate(receiver_id, as_json=json)


@app.command()
def disable(receiver_id: Id, json: Json = False) -> None:
    """Send it nothing new; redelivery by hand still works."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.set_disabled(receiver_id, True, as_json=json)


@app.command()
def enable(receiver_id: Id, json: Json = False) -> None:
    """Send to it again, with its failures forgotten."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.set_disabled(receiver_id, False, as_json=json)


@app.command()
def remove(receiver_id: Id, json: Json = False) -> None:
    """Forget a receiver: nothing new is sent to it, and what waits for it ends as dead."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.remove(receiver_id, as_json=json)
