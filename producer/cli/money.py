"""The commands about money and memory: `usage`, `erase`."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.cli.options import Json, Since

Of = Annotated[str | None, typer.Option("--tenant", help="Of one tenant alone.")]
By = Annotated[str, typer.Option("--by", help="One row per tenant, day or tag.")]
Whose = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this nothing is erased.")]


def usage(by: By = "tenant", tenant: Of = None, since: Since = None, json: Json = False) -> None:
    """Show what calls were good for: useful, repeated, wasted, unknown; what is reserved now, and the amount."""
    from producer.cli.spent import show_usage

    show_usage(by, tenant, since, as_json=json)


def erase(tenant: Whose, yes: Yes = False, json: Json = False) -> None:
    """Erase a tenant's jobs, images, events and receivers; the ledger of its charges stays."""
    from producer.cli.spent import erase_all

    raise typer.Exit(erase_all(tenant, yes=yes, as_json=json))
