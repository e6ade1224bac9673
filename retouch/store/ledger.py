"""The ledger of charges by class, for each tenant, day, tag and account. Budgets and backlog limits are here too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from retouch.accounts import DEFAULT_ACCOUNT
from retouch.batches import batched
from retouch.store import keys
from retouch.store.redis_commands import Client

DAY_S = 86_400
CLASSES = ("useful", "repeated", "wasted", "unknown")
By = Literal["tenant", "day", "tag", "account", "day-account"]
TAGS_KEPT_DAYS = 90
OTHER_TAGS = "other"
"""The row that sums up all tags of a tenant and day beyond the first 1,000 (`TAGS_MOST` in ledger.lua)."""
_CHUNK = 100


@dataclass(frozen=True, slots=True)
class UsageRow:
    """
    Calls that may have been billed, summed up under one key.

    `key` is a tenant, a day, a tag as `name=value`, an account, or a day and an account with a space between. `useful`
    calls yielded an image that is kept. `repeated` calls cost money for an image that another call yielded. `wasted`
    calls were accepted by the endpoint and yielded no image. `unknown` calls never got an answer. `reserved` calls are
    promised to jobs in flight today. `amount` is the price of all calls but the reserved ones, as if all were billed.
    """

    key: str
    useful: int
    repeated: int
    wasted: int
    unknown: int
    reserved: int
    amount: float


def day_of(at: float) -> int:
    """Return the UTC day of an instant (Unix seconds) as a number of days since 1970."""
    return int(at // DAY_S)


def day_number(day: date) -> int:
    """Return a calendar day as a number of days since 1970."""
    return (day - date(1970, 1, 1)).days


class Ledger:
    """
    Reads the ledger, and sets the limits of tenants. The Lua scripts write the ledger when a job ends or a late answer
    comes.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def usage(
        self,
        *,
        tenant: str | None = None,
        since: date | None = None,
        until: date | None = None,
        by: By = "tenant",
        price_per_call: float = 0.0,
    ) -> list[UsageRow]:
        """
        Return the calls of one tenant or of all, summed up by tenant, day, tag, account, or day and account.

        The rows are sorted by key. `since` and `until` are UTC days, and both are included. A call counts on the day
        when its job ended, or when its late answer came. Tags are kept for 90 days. If a tenant has more than 1,000
        tags on a day, the row `other` sums up the rest.
        """
        last = day_number(until or datetime.now(UTC).date())
        first = day_number(since) if since else 0
        tenants = [tenant] if tenant else sorted(self._client.smembers(keys.TENANTS))
        if by == "tag":
            return self._usage_by_tag(tenants, first, last, price_per_call)
        sums: dict[str, Counter[str]] = {}
        by_account: dict[str, Counter[str]] = {}

        def key_of(own: str, day: int, account: str) -> str:
            iso_day = str(date.fromordinal(day + 719_163))
            return {"tenant": own, "day": iso_day, "day-account": f"{iso_day} {account}"}.get(by, account)

        for own, day, row, counts in self._account_rows(tenants) if "account" in by else self._rows(tenants):
            if first <= day <= last:
                sums.setdefault(key_of(own, day, row), Counter()).update(counts)
        for own, day, account, counts in self._calls_of_accounts(tenants):
            if first <= day <= last:
                by_account.setdefault(key_of(own, day, account), Counter())[account] += sum(counts.values())
        # Calls are reserved for jobs in flight now, so they are not counted for a tag or for an earlier day.
        for key, reserved in self._reserved(tenants) if by == "tenant" and last >= day_number(_today()) else ():
            sums.setdefault(key, Counter())["reserved"] += reserved
        prices = call_prices(self._client, {name for calls in by_account.values() for name in calls}, price_per_call)
        return [
            _row(key, counts, prices.amount(by_account.get(key, {}), counts)) for key, counts in sorted(sums.items())
        ]

    def set_limits(self, tenant: str, *, budget: int | None = None, backlog_limit: int | None = None) -> None:
        """
        Set a tenant's budget of calls per UTC day and its backlog limit; 0 removes a limit, None leaves it as it is.
        """
        for name, value in (("budgets", budget), ("backlog_limits", backlog_limit)):
            if value is not None and value > 0:
                self._client.hset(f"rt:edits:{name}", tenant, value)
            elif value is not None:
                self._client.hdel(f"rt:edits:{name}", tenant)
        self._client.sadd(keys.TENANTS, tenant)
        self._client.hdel("rt:edits:gate", "budget_day")  # so that the next sweep checks all tenants again

    def budget(self, tenant: str) -> tuple[int, int, int] | None:
        """Return a tenant's budget today as (calls allowed, spent, reserved), or None if it has no budget."""
        allowed = self._client.hget("rt:edits:budgets", tenant)
        if allowed is None:
            return None
        spent, reserved = self._client.hmget(self._today_key(tenant), "spent", "reserved")
        return int(allowed), int(spent or 0), int(reserved or 0)

    def _today_key(self, tenant: str) -> str:
        return f"rt:budget:{tenant}:{day_number(_today())}"

    def _reserved(self, tenants: Sequence[str]) -> Iterator[tuple[str, int]]:
        day = day_number(_today())
        for names in batched(tenants, _CHUNK):
            with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hget(f"rt:budget:{name}:{day}", "reserved")
                counts = pipe.execute()
            yield from ((name, int(count)) for name, count in zip(names, counts, strict=True) if count)

    def _rows(self, tenants: Sequence[str]) -> Iterator[tuple[str, int, str, dict[str, int]]]:
        """Yield (tenant, day, "", {class: count}) for each count in the ledgers of tenants."""
        for name, (day, kind), count in self._counts(tenants, keys.ledger):
            yield name, int(day), "", {kind: count}

    def _counts(self, tenants: Sequence[str], key_of: Callable[[str], str]) -> Iterator[tuple[str, list[str], int]]:
        """Yield (tenant, words of the field, count) for each count in a hash of each tenant."""
        for names in batched(tenants, _CHUNK):
            with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hgetall(key_of(name))
                ledgers = pipe.execute()
            for name, ledger in zip(names, ledgers, strict=True):
                yield from ((name, field.split(" "), int(count)) for field, count in ledger.items())

    def _account_rows(self, tenants: Sequence[str]) -> Iterator[tuple[str, int, str, dict[str, int]]]:
        """Yield (tenant, day, account, {class: count}). Calls from a time with only one account belong to `default`."""
        for name in tenants:
            rest = Counter[tuple[int, str]]()
            for _, number, _, counts in self._rows([name]):
                rest.update({(number, kind): count for kind, count in counts.items()})
            for _, day, account, counts in self._calls_of_accounts([name]):
                for kind, count in counts.items():
                    rest[day, kind] -= count
                yield name, day, account, counts
            yield from ((name, day, DEFAULT_ACCOUNT, {kind: count}) for (day, kind), count in rest.items() if count)

    def _calls_of_accounts(self, tenants: Sequence[str]) -> Iterator[tuple[str, int, str, dict[str, int]]]:
        """Yield (tenant, day, account, {class: count}) for each count from a time with several accounts."""
        for name, (day, account, kind), count in self._counts(tenants, keys.ledger_accounts):
            yield name, int(day), account, {kind: count}

    def _usage_by_tag(self, tenants: Sequence[str], first: int, last: int, price_per_call: float) -> list[UsageRow]:
        """
        Return the calls by tag from day `first` to day `last`.

        Equal texts are counted first and parsed once: a tenant has up to 1,000 tags a day, and most of them have one
        call.
        """
        times = Counter[tuple[str, str]]()
        for texts in self._tag_texts(tenants, first, last):
            times.update(texts.items())
        sums, by_account = dict[str, Counter[str]](), dict[str, Counter[str]]()
        for (tag, text), number in times.items():
            counts, calls = tag_counts(text)
            sums.setdefault(tag, Counter()).update({kind: number * count for kind, count in counts.items()})
            by_account.setdefault(tag, Counter()).update({name: number * count for name, count in calls.items()})
        prices = call_prices(self._client, {name for calls in by_account.values() for name in calls}, price_per_call)
        return [_row(tag, counts, prices.amount(by_account[tag], counts)) for tag, counts in sorted(sums.items())]

    def _tag_texts(self, tenants: Sequence[str], first: int, last: int) -> Iterator[dict[str, str]]:
        """Yield {tag: text for `tag_counts`} for each tenant and day."""
        # Older hashes have expired, and `first` may lie decades back.
        days = range(max(first, day_number(_today()) - TAGS_KEPT_DAYS), min(last, day_number(_today())) + 1)
        for names in batched([keys.ledger_tags(name, day) for name in tenants for day in days], _CHUNK):
            with self._client.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.hgetall(name)
                yield from pipe.execute()


def tag_counts(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """
    Return the counts in a row of the ledger by tag: {class: calls}, and {account: calls} of the calls that were made
    with several accounts.
    """
    words = text.split()
    accounts = (word.rpartition(":") for word in words[len(CLASSES) :])
    return (
        dict(zip(CLASSES, map(int, words[: len(CLASSES)]), strict=True)),
        {name: int(count) for name, _, count in accounts},
    )


@dataclass(frozen=True, slots=True)
class CallPrices:
    """The price of a call: `by_account` for calls with several accounts, `default` for calls of a time with one."""

    default: float
    by_account: Mapping[str, float]
    other: float

    def amount(self, calls: Mapping[str, int], counts: Mapping[str, int]) -> float:
        """
        Return the cost of the calls in `counts`, by class. `calls` has the number of those that were made with several
        accounts, by account.
        """
        rest = sum(counts.get(name, 0) for name in CLASSES) - sum(calls.values())
        of_accounts = sum(count * self.by_account.get(name, self.other) for name, count in calls.items())
        return round(of_accounts + rest * self.default, 6)


def call_prices(client: Client, accounts: Iterable[str], price_per_call: float) -> CallPrices:
    """Return the prices of these accounts. `price_per_call` is the price where no accounts file has named one."""
    default = client.hget(keys.account_gate(DEFAULT_ACCOUNT), "price")
    return CallPrices(
        price_per_call if default is None else float(default), prices_of(client, accounts), price_per_call
    )


def prices_of(client: Client, accounts: Iterable[str]) -> dict[str, float]:
    """
    Return {account: price of a call} for the accounts that an accounts file names or once named.

    An account that no file names any more has its last price. Other accounts are left out.
    """
    names = list(accounts)
    if not names:
        return {}
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hget(keys.account_gate(name), "price").hget(keys.account_ledger(name), "price")
        prices = pipe.execute()
    found = ((name, now or then) for name, now, then in zip(names, prices[::2], prices[1::2], strict=True))
    return {name: float(price) for name, price in found if price is not None}


def _today() -> date:
    return datetime.now(UTC).date()


def _row(key: str, counts: Counter[str], amount: float) -> UsageRow:
    return UsageRow(key, **{name: counts[name] for name in CLASSES}, reserved=counts["reserved"], amount=amount)
