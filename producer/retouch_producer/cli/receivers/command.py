"""The commands of `retouch receivers`, with their arguments and options."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.options import Json, Limit

app = typer.Typer(
    help="Receivers of webhooks: add, list, show, test, rotate, disable, enable, remove.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Url = Annotated[str, typer.Argument(metavar="URL", help="Where events are POSTed.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The receiver's id.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Send it the events of this tenant's jobs.")]
OneTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant; all by default.")]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--event", metavar="TYPE", help="Send this event; may be repeated. Without it: the events that end a job."
    ),
]
ShowSecret = Annotated[bool, typer.Option("--show-secret", help="Show the secrets too.")]


@app.command()
def add(url: Url, tenant: Tenant = "default", event: Events = None, json: Json = False) -> None:
    """Send events of every job of a tenant to a URL; show the secret that verifies them."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.add(url, tenant, event or [], as_json=json)


@app.command("list")
def list_receivers(
    tenant: OneTenant = None, limit: Limit = 50, show_secret: ShowSecret = False, json: Json = False
) -> None:
    """List receivers, including those that only single jobs name, sorted by id."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.list_receivers(tenant or "", limit, show_secret=show_secret, as_json=json)


@app.command()
def show(receiver_id: Id, json: Json = False) -> None:
    """Show one receiver, why it fails, and how it took its latest deliveries."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.show(receiver_id, as_json=json)


@app.command("test")
def send_test(receiver_id: Id, json: Json = False) -> None:
    """Send a signed test event now and show the answer; exit 1 unless it is 2xx."""
    from retouch_producer.cli.receivers import run as receiver_run

    raise typer.Exit(receiver_run.send_test(receiver_id, as_json=json))


@app.command()
def rotate(receiver_id: Id, json: Json = False) -> None:
    """Make a new secret and show it; for a day, events are signed with the old secret as well."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.rotate(receiver_id, as_json=json)


@app.command()
def disable(receiver_id: Id, json: Json = False) -> None:
    """Disable a receiver: nothing new is sent to it. Redelivery by hand still works."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.set_disabled(receiver_id, True, as_json=json)


@app.command()
def enable(receiver_id: Id, json: Json = False) -> None:
    """Enable a receiver again, and clear its failures."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.set_disabled(receiver_id, False, as_json=json)


@app.command()
def remove(receiver_id: Id, json: Json = False) -> None:
    """Remove a receiver: nothing new is sent to it, and deliveries that wait for it end as dead."""
    from retouch_producer.cli.receivers import run as receiver_run

    receiver_run.remove(receiver_id, as_json=json)
