"""Prints the sums of the ledger: how many calls yielded images, and the cost of the calls."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import get_args

from retouch.store.ledger import By
from retouch_producer.cli import parsing
from retouch_producer.cli.context import open_context
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.render import print_table
from retouch_producer.cli.usage.compare import compare_with_bill

_BY: dict[str, By] = {by: by for by in get_args(By)}
_HEAD = ("useful", "repeated", "wasted", "unknown", "reserved", "amount")


def run_usage(
    by: str, tenant: str | None, since: str | None, bill: str | None, account: str | None, *, as_json: bool
) -> None:
    """
    Print the sums of the ledger. With `bill`, print the comparison of the ledger with the bill instead.

    Raise `UsageError` if options for the sums are mixed with options for the comparison.
    """
    if bill is None:
        if account is not None:
            raise UsageError("--account: it goes with --compare-bill alone; --by account sums up by account")
        show_usage(by, tenant, since, as_json=as_json)
        return
    given = {"--by": by != "tenant", "--tenant": tenant is not None, "--since": since is not None}
    if mixed := [name for name, is_given in given.items() if is_given]:
        raise UsageError(f"--compare-bill: {', '.join(mixed)} cannot be used with it; the bill names the days")
    compare_with_bill(bill, account, as_json=as_json)


def show_usage(by: str, tenant: str | None, since: str | None, *, as_json: bool) -> None:
    """Print the sums by tenant, day, tag or account, as a table or as a JSON array."""
    if by not in _BY:
        raise UsageError(f"--by: expected one of {', '.join(_BY)}, got {by[:40]!r}")
    first = datetime.fromtimestamp(parsing.since(since), UTC).date() if since else None
    with open_context() as context:
        rows = context.usage(tenant, first, _BY[by])
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    print_table(
        (by, *_HEAD), [(row.key, *(getattr(row, name) for name in _HEAD)) for row in rows], "no calls on record"
    )
    if any(row.useful + row.repeated + row.wasted + row.unknown for row in rows) and not any(
        row.amount for row in rows
    ):
        print("amounts are 0: no price is set; it is RETOUCH_PRICE_PER_CALL, or price_per_call in the accounts file")
