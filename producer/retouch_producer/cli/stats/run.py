"""Prints statistics: throughput, percentiles of latencies, failures by code, and cost."""

from __future__ import annotations

import json
from collections.abc import Mapping

from retouch.store.history import By
from retouch.store.stats import Cost, LatencySummary, Stats, StatsRow
from retouch_producer.cli import parsing
from retouch_producer.cli.context import open_context
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.render import print_table, span
from retouch_producer.documents import stats_document

_BY: dict[str, By] = {"account": "account", "tenant": "tenant"}
_LATENCIES = (
    ("wait for a slot", "wait_s"),
    ("call of the endpoint", "endpoint_s"),
    ("enqueued to end", "total_s"),
    ("event to delivery", "delivery_lag_s"),
)
_ROW_HEAD = ("ENQUEUED", "SUCCEEDED", "FAILED", "CALLS", "WAIT P95", "CALL P95", "AMOUNT", "CODES")
_USES = ("useful", "repeated", "wasted", "unknown")


def show_stats(since: str | None, by: str | None, tenant: str | None, *, as_json: bool) -> None:
    """
    Print the statistics from `since` until now, as text or as one JSON document.

    Raise `UsageError` if `by` is neither account nor tenant. Also raise it if `by` is account and `tenant` is set.
    """
    if by is not None and by not in _BY:
        raise UsageError(f"--by: expected account or tenant, got {by[:40]!r}")
    if by == "account" and tenant:
        raise UsageError("--by account: expected without --tenant, since history has no accounts of one tenant")
    with open_context() as context:
        stats = context.stats(tenant, parsing.since(since), _BY[by] if by else None)
    if as_json:
        print(json.dumps(stats_document(stats)))
        return
    _print_total(stats)
    if stats.by:
        _print_rows(stats)


def _print_total(stats: Stats) -> None:
    total = stats.total
    print(f"in {span(stats.until - stats.since)}: {total.enqueued} enqueued, ended: {_listed(total.ended)}")
    print(f"throughput: {total.ended_per_s * 3600:.0f} jobs an hour ({total.ended_per_s:.2f}/s)")
    rows = [(name, *_percentiles(getattr(total, field))) for name, field in _LATENCIES]
    print_table(("LATENCY", "P50", "P95", "P99", "COUNT"), rows, "")
    print(f"failed: {_listed(total.failures)}")
    print(f"calls: {total.calls}; answers: {_listed(total.answers)}")
    print(f"delivery attempts: {_listed(total.deliveries)}")
    if total.rescues:
        print(f"rescued: {_listed(total.rescues)}")
    print(f"cost today: {_cost(stats.today)}; yesterday: {_cost(stats.yesterday)}")
    oldest = "no job waits" if stats.oldest_waiting_s is None else span(stats.oldest_waiting_s)
    print(f"oldest waiting job: {oldest}")


def _print_rows(stats: Stats) -> None:
    head = (str(stats.by).upper(), *_ROW_HEAD)
    print_table(head, [_cells(row) for row in stats.rows], f"nothing happened, by {stats.by}")


def _cells(row: StatsRow) -> tuple[object, ...]:
    states = (row.ended.get("succeeded", 0), row.ended.get("failed", 0))
    latencies = (_seconds(row.wait_s.p95), _seconds(row.endpoint_s.p95))
    return (row.key, row.enqueued, *states, row.calls, *latencies, row.cost.amount, _listed(row.failures, "-"))


def _percentiles(latency: LatencySummary) -> tuple[str, str, str, int]:
    return _seconds(latency.p50), _seconds(latency.p95), _seconds(latency.p99), latency.count


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.3g}s" if seconds < 60 else span(seconds)


def _cost(cost: Cost) -> str:
    uses = {use: getattr(cost, use) for use in _USES if getattr(cost, use)}
    return f"{cost.amount:g} ({_listed(uses, 'no calls')})"


def _listed(counts: Mapping[str, int], if_empty: str = "none") -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or if_empty
