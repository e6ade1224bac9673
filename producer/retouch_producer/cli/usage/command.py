"""The options of `retouch usage`."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.options import Json, Since, TenantFilter

By = Annotated[str, typer.Option("--by", help="One row for each tenant, day, tag or account, or day-account for both.")]
Bill = Annotated[
    str | None,
    typer.Option(
        "--compare-bill",
        metavar="FILE",
        help="Compare the vendor's bill (a line a day: date, calls, amount) with the ledger; - reads standard input.",
    ),
]
Account = Annotated[
    str | None, typer.Option("--account", help="With --compare-bill: the account that the bill is for; else all.")
]


def usage(
    by: By = "tenant",
    tenant: TenantFilter = None,
    since: Since = None,
    compare_bill: Bill = None,
    account: Account = None,
    json: Json = False,
) -> None:
    """Show how many calls were useful, repeated, wasted or unknown, what they cost, and how many are reserved now."""
    from retouch_producer.cli.usage.run import run_usage

    run_usage(by, tenant, since, compare_bill, account, as_json=json)
