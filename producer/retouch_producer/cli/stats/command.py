"""The options of `retouch stats`."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.options import Json, Since, TenantFilter

By = Annotated[str | None, typer.Option("--by", help="Add a row for each account or tenant.")]


def stats(since: Since = "1h", by: By = None, tenant: TenantFilter = None, json: Json = False) -> None:
    """Show throughput, waits, calls, failures by code, and the cost of today beside yesterday."""
    from retouch_producer.cli.stats.run import show_stats

    show_stats(since, by, tenant, as_json=json)
