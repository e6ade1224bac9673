"""The commands of `retouch keys`, with their arguments and options."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from retouch_producer.cli.options import Json, TenantFilter
from retouch_producer.cli.tenants.command import limits

app = typer.Typer(
    help="API keys of the gateway, and the limits of their tenants.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Role = Literal["producer", "viewer", "ops"]
KeyTenant = Annotated[str, typer.Option("--tenant", help="The tenant of the key.")]
KeyRole = Annotated[
    Role, typer.Option("--role", help="producer: own tenant; viewer: reads all; ops: reads and changes all.")
]
KeyName = Annotated[str, typer.Option("--name", help="A name, for people.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The key's id: key_…")]


@app.command()
def create(tenant: KeyTenant = "default", role: KeyRole = "producer", name: KeyName = "", json: Json = False) -> None:
    """Create an API key and print it. It cannot be shown again, since only its hash is stored."""
    from retouch_producer.cli.keys.run import create_key

    create_key(tenant, role, name, as_json=json)


@app.command("list")
def list_all(tenant: TenantFilter = None, json: Json = False) -> None:
    """List API keys without their secrets; revoked keys are listed for 90 days."""
    from retouch_producer.cli.keys.run import list_keys

    list_keys(tenant or "", as_json=json)


@app.command()
def revoke(key_id: Id, json: Json = False) -> None:
    """Revoke an API key, which cannot be undone; gateways refuse it within two seconds."""
    from retouch_producer.cli.keys.run import revoke_key

    revoke_key(key_id, as_json=json)


app.command()(limits)
