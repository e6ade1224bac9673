"""Statistics for people: throughput, waits, failures and cost of a time range, read from history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retouch.store.history import DAY_S, By, History
from retouch.store.history_counts import HistoryCounts, Latency
from retouch.store.lanes import Lanes
from retouch.store.ledger import CLASSES, prices_of
from retouch.store.redis_commands import Client


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Percentiles of latencies in seconds; None if nothing was measured. `count` is the number of latencies."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """
    Numbers of charges by their use, as in `UsageRow`.

    `amount` is the price of all charges, as if all were billed. Each charge has the price of its account.
    """

    useful: int
    repeated: int
    wasted: int
    unknown: int
    amount: float


@dataclass(frozen=True, slots=True)
class StatsRow:
    """
    Counts of a time range, for one account or tenant (`key`) or for all (`key` is empty).

    `ended` counts jobs by state, and `failures` counts failed jobs by error code. `calls` counts POSTs to the endpoint,
    and `answers` counts their answers by class. `deliveries` counts delivery attempts by the state that followed.
    `rescues` counts rescued items by reason. `ended_per_s` is the throughput.

    `wait_s` is the time from enqueueing to the first claim. `endpoint_s` is the duration of a POST. `total_s` is the
    time from enqueueing to the end. `delivery_lag_s` is the time from an event to its delivery.
    """

    key: str
    enqueued: int
    ended: dict[str, int]
    ended_per_s: float
    failures: dict[str, int]
    calls: int
    answers: dict[str, int]
    cost: Cost
    deliveries: dict[str, int]
    rescues: dict[str, int]
    wait_s: LatencySummary
    endpoint_s: LatencySummary
    total_s: LatencySummary
    delivery_lag_s: LatencySummary


@dataclass(frozen=True, slots=True)
class Stats:
    """
    Statistics from `since` to `until` (Unix seconds): `total`, and `rows` for each account or tenant if `by` is set.

    `today` is the cost of this UTC day until now, and `yesterday` the cost of the whole day before. `oldest_waiting_s`
    is how long the next jobs of the tenants have waited at most; it is None if no job waits.
    """

    since: float
    until: float
    by: By | None
    total: StatsRow
    rows: tuple[StatsRow, ...]
    today: Cost
    yesterday: Cost
    oldest_waiting_s: float | None


def read_stats(
    client: Client, price_per_call: float, since: float, *, by: By | None = None, tenant: str | None = None
) -> Stats:
    """
    Return the statistics from `since` (Unix seconds) until now, of one tenant or of all.

    `price_per_call` is the price of a charge whose account is in no accounts file. With `by` and a tenant, the only row
    is that of this tenant.
    """
    history = History(client)
    seconds, micros = client.time()
    now = seconds + micros / 1e6
    since = min(since, now)
    midnight = now // DAY_S * DAY_S
    length_s = max(1.0, now - since)
    rows: Mapping[str, HistoryCounts] = {}
    if by and tenant:
        rows = {tenant: history.between(since, tenant=tenant)}
    elif by:
        rows = history.between_by(by, since)
    total, today = history.between(since, tenant=tenant), history.between(midnight, tenant=tenant)
    # Until the last second of yesterday: `between` counts the last minute in full, so midnight would be too late.
    yesterday = history.between(midnight - DAY_S, midnight - 1, tenant=tenant)
    accounts = set(rows) if by == "account" else set[str]()
    for counts in (total, today, yesterday, *rows.values()):
        accounts.update(counts.charges_by_account)
    prices = Prices(price_per_call, prices_of(client, sorted(accounts)))
    return Stats(
        since=since,
        until=now,
        by=by,
        total=stats_row("", total, length_s, prices),
        rows=tuple(stats_row(key, counts, length_s, prices.of(key, by)) for key, counts in rows.items()),
        today=_cost(today, prices),
        yesterday=_cost(yesterday, prices),
        oldest_waiting_s=_oldest_waiting_s(client, tenant, now),
    )


def _oldest_waiting_s(client: Client, tenant: str | None, now: float) -> float | None:
    lanes = Lanes(client)
    oldest = lanes.oldest_waiting([tenant] if tenant else lanes.numbers("edits").waiting_by_group)
    return max(0.0, now - oldest[1]) if oldest else None


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of one call: `by_account` for accounts that an accounts file named, `usual` for all others."""

    usual: float
    by_account: Mapping[str, float]

    def of(self, key: str, by: By | None) -> Prices:
        """Return the prices for a row. In a row of one account, all calls have the price of that account."""
        return Prices(self.by_account.get(key, self.usual), {}) if by == "account" else self

    def amount(self, counts: HistoryCounts) -> float:
        """Return the cost of the charges, each at the price of its account."""
        charges = counts.charges_by_account.items()
        return round(sum(count * self.by_account.get(account, self.usual) for account, count in charges), 6)


def stats_row(key: str, counts: HistoryCounts, length_s: float, prices: Prices) -> StatsRow:
    """Return the statistics of counts that were collected over `length_s` seconds."""
    return StatsRow(
        key=key,
        enqueued=counts.enqueued,
        ended=counts.ended,
        ended_per_s=round(sum(counts.ended.values()) / length_s, 4),
        failures=counts.failures,
        calls=counts.calls,
        answers=counts.answers,
        cost=_cost(counts, prices),
        deliveries=counts.deliveries,
        rescues=counts.rescues,
        wait_s=_latency(counts, "wait"),
        endpoint_s=_latency(counts, "endpoint"),
        total_s=_latency(counts, "total"),
        delivery_lag_s=_latency(counts, "lag"),
    )


def _cost(counts: HistoryCounts, prices: Prices) -> Cost:
    charges = counts.charges
    return Cost(**{use: charges.get(use, 0) for use in CLASSES}, amount=prices.amount(counts))


def _latency(counts: HistoryCounts, name: Latency) -> LatencySummary:
    latencies = counts.latency(name)
    p50, p95, p99 = (latencies.percentile(percent) for percent in (50, 95, 99))
    return LatencySummary(latencies.count, *(None if one is None else round(one, 4) for one in (p50, p95, p99)))
