"""`retouch erase` and `retouch keys limits`: their arguments and options."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.options import Json

ErasedTenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this nothing is erased.")]


def erase(tenant: ErasedTenant, yes: Yes = False, json: Json = False) -> None:
    """Erase a tenant's jobs, images, events and receivers; the ledger of its charges stays."""
    from retouch_producer.cli.tenants.run import erase_all

    raise typer.Exit(erase_all(tenant, yes=yes, as_json=json))


LimitedTenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")]
Weight = Annotated[float | None, typer.Option("--weight", min=0.01, max=1000, help="Its share when others wait too.")]
InFlight = Annotated[int | None, typer.Option("--in-flight-limit", min=0, help="Calls at once; 0 lifts it.")]
Backlog = Annotated[int | None, typer.Option("--backlog-limit", min=0, help="Most waiting jobs; 0 lifts it.")]
Budget = Annotated[int | None, typer.Option("--budget", min=0, help="Calls a UTC day; 0 lifts it.")]
Share = Annotated[
    bool | None, typer.Option("--share-duplicates/--no-share-duplicates", help="Exact duplicates become one job.")
]


def limits(
    tenant: LimitedTenant,
    weight: Weight = None,
    in_flight_limit: InFlight = None,
    backlog_limit: Backlog = None,
    budget: Budget = None,
    share_duplicates: Share = None,
    json: Json = False,
) -> None:
    """Show what a tenant may do, and what of today's budget is spent; options change what it may."""
    from retouch_producer.cli.tenants.run import LimitChanges, set_limits

    changes = LimitChanges(weight, in_flight_limit, backlog_limit, budget, share_duplicates)
    set_limits(tenant, changes, as_json=json)
