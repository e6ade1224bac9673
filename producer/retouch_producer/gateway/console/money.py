"""
Reads from the ledger how many calls were useful, repeated, wasted or unknown: today, by day, and by tag.

No function reads the whole history of a tenant.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from retouch.batches import batched
from retouch.store import keys
from retouch.store.ledger import CLASSES, DAY_S, call_prices, day_of, tag_counts
from retouch.store.redis_commands import Client

_CHUNK = 200


@dataclass(frozen=True, slots=True)
class Spent:
    """Numbers of calls that may have been billed, by their use."""

    useful: int = 0
    repeated: int = 0
    wasted: int = 0
    unknown: int = 0

    @property
    def total(self) -> int:
        """Return the number of all calls."""
        return self.useful + self.repeated + self.wasted + self.unknown

    @property
    def parts(self) -> list[tuple[str, int, float, float]]:
        """
        Return (name, calls, start, width) of each use.

        In a bar of all uses, `start` is the position of this use and `width` is its length, both in percent.
        """
        begins, found = 0.0, []
        for name in CLASSES:
            share = 100 * getattr(self, name) / self.total if self.total else 0.0
            found.append((name, getattr(self, name), round(begins, 2), round(share, 2)))
            begins += share
        return found


@dataclass(frozen=True, slots=True)
class SpentOn:
    """The calls of one day, or of one tag; `name` is an ISO date or `name=value`."""

    name: str
    spent: Spent


def total_of(parts: Iterable[Spent]) -> Spent:
    """Return the sums of all parts, for each use."""
    found = list(parts)
    return Spent(**{name: sum(getattr(part, name) for part in found) for name in CLASSES})


def spent_today(client: Client, tenants: Sequence[str]) -> Spent:
    """Return the sum of today's calls (UTC) of these tenants. Only four fields of each tenant's ledger are read."""
    fields = [f"{day_of(time.time())} {kind}" for kind in CLASSES]
    sums = Counter[str]()
    for names in batched(tenants, _CHUNK):
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(keys.ledger(name), *fields)
            for counts in pipe.execute():
                sums.update({kind: int(number or 0) for kind, number in zip(CLASSES, counts, strict=True)})
    return Spent(**sums)


def amount_at_most(
    client: Client, tenants: Sequence[str], spent: Spent, price_per_call: float, *, days: int = 1
) -> float:
    """
    Return the cost of `spent`, the calls of these tenants on the latest `days` days (UTC).

    Each call has the price of its account.
    """
    accounts, calls = sorted(client.smembers(keys.ACCOUNTS)), Counter[str]()
    today = day_of(time.time())
    wanted = [
        (account, f"{day} {account} {kind}")
        for day in range(today - days + 1, today + 1)
        for account in accounts
        for kind in CLASSES
    ]
    for names in batched(tenants, _CHUNK) if wanted else ():
        with client.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(keys.ledger_accounts(name), *(field for _, field in wanted))
            for counts in pipe.execute():
                for (account, _), count in zip(wanted, counts, strict=True):
                    calls[account] += int(count or 0)
    return call_prices(client, accounts, price_per_call).amount(calls, asdict(spent))


def spent_by_day(client: Client, tenant: str, days: int) -> list[SpentOn]:
    """Return the calls of one tenant on each of the latest days (UTC), the oldest first."""
    today = day_of(time.time())
    wanted = range(today - days + 1, today + 1)
    counts = client.hmget(keys.ledger(tenant), *(f"{day} {kind}" for day in wanted for kind in CLASSES))
    numbers = [int(number or 0) for number in counts]
    return [
        SpentOn(_date(day), Spent(*numbers[place * len(CLASSES) : (place + 1) * len(CLASSES)]))
        for place, day in enumerate(wanted)
    ]


def spent_by_tag(client: Client, tenant: str, days: int, most: int) -> list[SpentOn]:
    """
    Return the calls of one tenant by tag in the latest `days` days (UTC).

    Only the `most` tags with the most calls are returned, largest first. The ledger has at most 1,000 tags for each
    day.
    """
    sums = dict[str, Counter[str]]()
    for tag, counts in _tags(client, tenant, days):
        sums.setdefault(tag, Counter()).update(tag_counts(counts)[0])
    found = [SpentOn(tag, Spent(**counts)) for tag, counts in sums.items()]
    return sorted(found, key=lambda row: (-row.spent.total, row.name))[:most]


def _tags(client: Client, tenant: str, days: int) -> Iterator[tuple[str, str]]:
    today = day_of(time.time())
    with client.pipeline(transaction=False) as pipe:
        for day in range(today - days + 1, today + 1):
            pipe.hgetall(keys.ledger_tags(tenant, day))
        for tags in pipe.execute():
            yield from tags.items()


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY_S, UTC).date().isoformat()
