"""The arguments and options of `retouch erase` and `retouch keys limits`."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.options import Json

ErasedTenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant to erase.")]
Yes = Annotated[bool, typer.Option("--yes", help="Confirm; without it, nothing is erased.")]


def erase(tenant: ErasedTenant, yes: Yes = False, json: Json = False) -> None:
    """Erase a tenant's jobs, images, events, receivers and bulk runs. Its ledger, limits and API keys are kept."""
    from retouch_producer.cli.tenants.run import erase_all

    raise typer.Exit(erase_all(tenant, yes=yes, as_json=json))


LimitedTenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")]
Weight = Annotated[
    float | None,
    typer.Option("--weight", min=0.01, max=1000, help="Its share of dispatches while other tenants wait too."),
]
InFlight = Annotated[
    int | None, typer.Option("--in-flight-limit", min=0, help="Maximum calls in flight; 0 removes the limit.")
]
Backlog = Annotated[
    int | None, typer.Option("--backlog-limit", min=0, help="Maximum waiting jobs; 0 removes the limit.")
]
Budget = Annotated[int | None, typer.Option("--budget", min=0, help="Maximum calls in a UTC day; 0 removes the limit.")]
Share = Annotated[
    bool | None,
    typer.Option("--share-duplicates/--no-share-duplicates", help="Whether exact duplicates share one job."),
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
    """Show a tenant's limits and how much of today's budget is spent; with options, change the limits first."""
    from retouch_producer.cli.tenants.run import LimitChanges, set_limits

    changes = LimitChanges(weight, in_flight_limit, backlog_limit, budget, share_duplicates)
    set_limits(tenant, changes, as_json=json)
