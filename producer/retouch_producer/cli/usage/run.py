"""Prints the sums of the ledger: whether calls yielded images, and what the calls cost."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

from retouch.store.ledger import By
from retouch_producer.cli import parsing
from retouch_producer.cli.context import open_context
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.render import print_table

_BY: dict[str, By] = {"tenant": "tenant", "day": "day", "tag": "tag", "account": "account"}
_HEAD = ("useful", "repeated", "wasted", "unknown", "reserved", "amount")


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
    if any(row.useful + row.repeated + row.wasted + row.unknown and not row.amount for row in rows):
        print("amounts are 0: RETOUCH_PRICE_PER_CALL is not set")
