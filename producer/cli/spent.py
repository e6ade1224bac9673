"""What the money commands do and show."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

from producer.cli import words
from producer.cli.desk import open_desk
from producer.cli.tables import print_table
from producer.cli.wrong_use import WrongUse
from retouch.store.erasure import erase_tenant
from retouch.store.ledger import By

_BY: dict[str, By] = {"tenant": "tenant", "day": "day", "tag": "tag"}
_HEAD = ("useful", "repeated", "wasted", "unknown", "reserved", "amount")


def show_usage(by: str, tenant: str | None, since: str | None, *, as_json: bool) -> None:
    """Print the ledger's sums."""
    if by not in _BY:
        raise WrongUse(f"--by: expected one of {', '.join(_BY)}, got {by[:40]!r}")
    first = datetime.fromtimestamp(words.since(since), UTC).date() if since else None
    with open_desk() as desk:
        rows = desk.usage(tenant, first, _BY[by])
    if as_json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    print_table(
        (by, *_HEAD), [(row.key, *(getattr(row, name) for name in _HEAD)) for row in rows], "no calls on record"
    )
    if any(row.useful + row.repeated + row.wasted + row.unknown and not row.amount for row in rows):
        print("amounts are 0: RETOUCH_PRICE_PER_CALL is not set")


def erase_all(tenant: str, *, yes: bool, as_json: bool) -> int:
    """Erase a tenant; 1 while jobs of it are still in flight."""
    if not yes:
        raise WrongUse(f"this erases all jobs and images of tenant {tenant[:64]!r}; repeat it with --yes")
    with open_desk() as desk:
        erased = erase_tenant(desk.connections.client, desk.connections.jobs, desk.connections.blobs, tenant)
    if as_json:
        print(json.dumps(asdict(erased)))
    else:
        print(f"tenant {tenant}: {erased.jobs} jobs and {erased.images} images erased; its ledger stays")
        if erased.images_due:
            print(
                f"{erased.images_due} images were put within the last hour: a worker deletes them when an hour is over"
            )
        if erased.in_flight:
            print(
                f"{erased.in_flight} jobs are in flight and were cancelled: run this again when their calls have ended"
            )
    return int(erased.in_flight > 0)
