"""Statistics for people: throughput, waits, failures and cost of a time range, read from history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from retouch.store.history import DAY_S, By, History
from retouch.store.history_counts import HistoryCounts, Latency
from retouch.store.lanes import Lanes
from retouch.store.redis_commands import Client


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Percentiles in seconds; None if nothing was measured. `count` is the number of latencies."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Cost:
    """Charges by what they led to, as in `UsageRow`, and what they cost at most."""

    useful: int
    repeated: int
    wasted: int
    unknown: int
    amount: float


@dataclass(frozen=True, slots=True)
class StatsRow:
    """
    What happened in a time range, of one account or tenant (`key`) or of all (`key` is empty).

    `ended` counts jobs by state, `failures` failed jobs by error code, `calls` POSTs to the endpoint, `answers` these
    by class, `deliveries` attempts by what followed, `rescues` what rescue did. `ended_per_s` is the throughput.
    Latencies: `wait_s` from enqueueing to the first claim, `endpoint_s` of a POST, `total_s` from enqueueing to the
    end, `delivery_lag_s` from an event to its delivery.
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
    Statistics from `since` to `until` (Unix seconds): `total`, and `rows` by account or tenant if asked for.

    `today` and `yesterday` are the costs of UTC days, the whole of yesterday. `oldest_waiting_s` is for how long the
    next job of some tenant has waited at most; None if no job waits.
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
    """Read the statistics from an instant until now, of one tenant or of all; amounts are at the price of one call."""
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
    return Stats(
        since=since,
        until=now,
        by=by,
        total=_row("", history.between(since, tenant=tenant), length_s, price_per_call),
        rows=tuple(_row(key, counts, length_s, price_per_call) for key, counts in rows.items()),
        today=_cost(history.between(midnight, tenant=tenant), price_per_call),
        # The last instant of yesterday: the minute that contains the end of a range counts as a whole.
        yesterday=_cost(history.between(midnight - DAY_S, midnight - 1, tenant=tenant), price_per_call),
        oldest_waiting_s=_oldest_waiting_s(client, tenant, now),
    )


def _oldest_waiting_s(client: Client, tenant: str | None, now: float) -> float | None:
    lanes = Lanes(client)
    oldest = lanes.oldest_waiting([tenant] if tenant else lanes.numbers("edits").waiting_by_group)
    return max(0.0, now - oldest[1]) if oldest else None


def _row(key: str, counts: HistoryCounts, length_s: float, price_per_call: float) -> StatsRow:
    return StatsRow(
        key=key,
        enqueued=counts.enqueued,
        ended=counts.ended,
        ended_per_s=round(sum(counts.ended.values()) / length_s, 4),
        failures=counts.failures,
        calls=counts.calls,
        answers=counts.answers,
        cost=_cost(counts, price_per_call),
        deliveries=counts.deliveries,
        rescues=counts.rescues,
        wait_s=_latency(counts, "wait"),
        endpoint_s=_latency(counts, "endpoint"),
        total_s=_latency(counts, "total"),
        delivery_lag_s=_latency(counts, "lag"),
    )


def _cost(counts: HistoryCounts, price_per_call: float) -> Cost:
    uses = {use: counts.charges.get(use, 0) for use in ("useful", "repeated", "wasted", "unknown")}
    return Cost(**uses, amount=round(sum(uses.values()) * price_per_call, 6))


def _latency(counts: HistoryCounts, name: Latency) -> LatencySummary:
    latencies = counts.latency(name)
    p50, p95, p99 = (latencies.percentile(percent) for percent in (50, 95, 99))
    return LatencySummary(latencies.count, *(None if one is None else round(one, 4) for one in (p50, p95, p99)))
