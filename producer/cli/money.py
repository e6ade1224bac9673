"""The commands about money and memory: `usage`, `budget`, `erase`."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli.options import Json, Since

Of = Annotated[str | None, typer.Option("--tenant", help="Of one tenant alone.")]
By = Annotated[str, typer.Option("--by", help="One row per tenant, day or tag.")]
Whose = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")]
Calls = Annotated[int | None, typer.Option("--calls", min=0, help="Calls a UTC day; 0 lifts the budget.")]
Backlog = Annotated[int | None, typer.Option("--backlog", min=0, help="Most waiting jobs; 0 lifts the limit.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this nothing is erased.")]


def usage(by: By = "tenant", tenant: Of = None, since: Since = None, json: Json = False) -> None:
    """Show what calls were good for: useful, repeated, wasted, unknown; what is reserved now, and the amount."""
    from producer.cli.spent import show_usage

    show_usage(by, tenant, since, as_json=json)


def budget(tenant: Whose, calls: Calls = None, backlog: Backlog = None, json: Json = False) -> None:
    """Show a tenant's budget of today; with options, set its calls per day or its most waiting jobs."""
    from producer.cli.spent import show_budget

    show_budget(tenant, calls, backlog, as_json=json)


def erase(tenant: Whose, yes: Yes = False, json: Json = False) -> None:
    """Erase a tenant's jobs, images, events and receivers; the ledger of its charges stays."""
    from producer.cli.spent import erase_all

    raise typer.Exit(erase_all(tenant, yes=yes, as_json=json))
