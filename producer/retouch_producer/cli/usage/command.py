"""The options of `retouch usage`."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.options import Json, Since, TenantFilter

By = Annotated[str, typer.Option("--by", help="One row for each tenant, day, tag or account.")]


def usage(by: By = "tenant", tenant: TenantFilter = None, since: Since = None, json: Json = False) -> None:
    """Show how many calls were useful, repeated, wasted or unknown, what they cost, and how many are reserved now."""
    from retouch_producer.cli.usage.run import show_usage

    show_usage(by, tenant, since, as_json=json)
