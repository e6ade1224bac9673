"""`retouch keys`: who may use the gateway, for which tenant, and how much each tenant may ask for."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from producer.cli.options import Json

app = typer.Typer(
    help="API keys of the gateway, and limits of the tenants they belong to.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Role = Literal["producer", "ops"]
Whose = Annotated[str, typer.Option("--tenant", help="Whose key it is.")]
Roles = Annotated[Role, typer.Option("--role", help="producer: its own tenant's; ops: sees and moves all.")]
Called = Annotated[str, typer.Option("--name", help="A word for people.")]
OneTenant = Annotated[str | None, typer.Option("--tenant", help="Only this tenant's; else all.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The key's id: key_…")]
Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")]
Weight = Annotated[float | None, typer.Option("--weight", min=0.01, max=1000, help="Its share when others wait too.")]
InFlight = Annotated[int | None, typer.Option("--in-flight-limit", min=0, help="Calls at once; 0 lifts it.")]
Backlog = Annotated[int | None, typer.Option("--backlog-limit", min=0, help="Most waiting jobs; 0 lifts it.")]
Budget = Annotated[int | None, typer.Option("--budget", min=0, help="Calls a UTC day; 0 lifts it.")]
Share = Annotated[
    bool | None, typer.Option("--share-duplicates/--no-share-duplicates", help="Exact duplicates become one job.")
]


@app.command()
def create(tenant: Whose = "default", role: Roles = "producer", name: Called = "", json: Json = False) -> None:
    """Make a key and show it once: only a hash of it is kept."""
    from producer.cli.keyed import create_key

    create_key(tenant, role, name, as_json=json)


@app.command("list")
def list_all(tenant: OneTenant = None, json: Json = False) -> None:
    """List keys, without their secrets; revoked ones for 90 days."""
    from producer.cli.keyed import list_keys

    list_keys(tenant or "", as_json=json)


@app.command()
def revoke(key_id: Id, json: Json = False) -> None:
    """Revoke a key for good; gateways refuse it within two seconds."""
    from producer.cli.keyed import revoke_key

    revoke_key(key_id, as_json=json)


@app.command()
def limits(
    tenant: Tenant, weight: Weight = None, in_flight_limit: InFlight = None, backlog_limit: Backlog = None,
    budget: Budget = None, share_duplicates: Share = None, json: Json = False,
) -> None:  # fmt: skip
    """Show what a tenant may do, and what of today's budget is spent; options change what it may."""
    from producer.cli.keyed import set_limits

    set_limits(tenant, weight, in_flight_limit, backlog_limit, budget, share_duplicates, as_json=json)
