"""
The Grafana dashboard: `python -m retouch_ops.dashboard` writes `ops/grafana/retouch.json`. A test checks that the file
is up to date.

This module needs the extra `dashboard` of this distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FILE = Path(__file__).parents[1] / "grafana" / "retouch.json"
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
_WIDTH, _HEIGHT = 8, 8


@dataclass(frozen=True, slots=True)
class Plot:
    """One panel of the dashboard. Each pair in `lines` is an expression and its legend."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    description: str = ""


def _percentiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    group = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return tuple(
        (
            f"histogram_quantile({share}, max by ({group}) (rate({metric}_bucket[$__rate_interval])))",
            f"p{share * 100:.0f}{legend}",
        )
        for share in (0.5, 0.95)
    )


def _rate(metric: str, by: str, labels: str = "") -> str:
    """
    Return a Prometheus expression for the rate of a counter, grouped by the labels `by`.

    Each gateway reports the same counts, so the expression takes the maximum over the gateways.
    """
    return f"max by ({by}) (rate({metric}{labels}[$__rate_interval]))"


def _now(metric: str, by: str = "", labels: str = "") -> str:
    return f"max by ({by}) ({metric}{labels})" if by else f"max({metric}{labels})"


ROWS: dict[str, tuple[Plot, ...]] = {
    "Edits": (
        Plot(
            "Throughput",
            "reqps",
            (
                ("max(rate(retouch_jobs_enqueued_total[$__rate_interval]))", "enqueued"),
                (f"sum by (state) ({_rate('retouch_jobs_ended_total', 'state, code')})", "{{state}}"),
            ),
        ),
        Plot("Wait for a slot", "s", _percentiles("retouch_queue_wait_seconds")),
        Plot("Enqueued to end", "s", _percentiles("retouch_job_seconds")),
        Plot(
            "Failures by code", "reqps", ((_rate("retouch_jobs_ended_total", "code", '{state="failed"}'), "{{code}}"),)
        ),
        Plot(
            "Backlog",
            "short",
            (
                (_now("retouch_lane_waiting", "lane"), "waiting, {{lane}}"),
                (_now("retouch_lane_parked", "lane"), "parked, {{lane}}"),
            ),
        ),
        Plot("Oldest waiting", "s", ((_now("retouch_lane_oldest_waiting_age_seconds", "lane"), "{{lane}}"),)),
    ),
    "Endpoint": (
        Plot(
            "Slots",
            "short",
            (
                (_now("retouch_account_slots_held", "account"), "held, {{account}}"),
                (_now("retouch_account_slots_limit", "account"), "limit, {{account}}"),
            ),
        ),
        Plot("Calls", "s", _percentiles("retouch_endpoint_call_seconds", "account")),
        Plot(
            "Answers by class", "reqps", ((_rate("retouch_attempts_total", "class, account"), "{{class}} {{account}}"),)
        ),
        Plot(
            "Breaker and account",
            "short",
            (
                (_now("retouch_account_breaker_open", "account"), "breaker open, {{account}}"),
                (_now("retouch_account_closed", "account"), "closed, {{account}}"),
            ),
        ),
        Plot("Tenants that wait", "short", ((_now("retouch_tenant_waiting", "tenant"), "{{tenant}}"),)),
        Plot("Rescues", "reqps", ((_rate("retouch_rescues_total", "why"), "{{why}}"),)),
    ),
    "Money": (
        Plot(
            "Calls by use, each hour",
            "short",
            (
                (
                    "sum by (use) (max by (use, account) (increase(retouch_calls_total[1h])))",
                    "{{use}}",
                ),
            ),
            "Calls that may have been billed. A late answer moves a call to another use; both are counted here.",
        ),
        Plot("Calls reserved", "short", ((_now("retouch_calls_reserved"), "reserved"),)),
        Plot("Calls left today", "short", ((_now("retouch_budget_calls_left", "tenant"), "{{tenant}}"),)),
    ),
    "Deliveries": (
        Plot("Attempts", "reqps", ((_rate("retouch_deliveries_total", "outcome"), "{{outcome}}"),)),
        Plot("Event to delivery", "s", _percentiles("retouch_delivery_lag_seconds")),
        Plot(
            "Receivers",
            "short",
            tuple((_now(f"retouch_receivers_{state}"), state) for state in ("failing", "shut", "disabled")),
        ),
    ),
    "Platform": (
        Plot("Redis memory", "percentunit", ((_now("retouch_redis_memory_ratio"), "of its limit"),)),
        Plot(
            "Last seen",
            "s",
            (("time() - max(retouch_worker_last_seen_timestamp_seconds)", "any worker"),),
        ),
        Plot(
            "HTTP answers of gateways",
            "reqps",
            (("sum by (status) (rate(retouch_http_answers_total[$__rate_interval]))", "{{status}}"),),
        ),
    ),
}


def expressions() -> list[str]:
    """Return all Prometheus expressions of the dashboard."""
    return [expression for plots in ROWS.values() for plot in plots for expression, _ in plot.lines]


def _panel(plot: Plot) -> timeseries.Panel:
    panel = timeseries.Panel().title(plot.title).unit(plot.unit).datasource(_SOURCE).min(0)
    panel = panel.span(_WIDTH).height(_HEIGHT).fill_opacity(10)
    if plot.description:
        panel = panel.description(plot.description)
    for ref_id, (expression, legend) in zip("ABCD", plot.lines, strict=False):
        query = prometheus.Dataquery().ref_id(ref_id).expr(expression).legend_format(legend).datasource(_SOURCE)
        panel = panel.with_target(query)
    return panel


def text() -> str:
    """Return the dashboard as JSON."""
    board = dashboard.Dashboard("Retouch").uid("retouch").tags(["retouch"]).refresh("30s").time("now-6h", "now")
    board = board.timezone("browser").with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
    for title, plots in ROWS.items():
        board = board.with_row(dashboard.Row(title))
        for plot in plots:
            board = board.with_panel(_panel(plot))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def main() -> None:
    """Write the dashboard to `FILE`."""
    FILE.write_text(text())


if __name__ == "__main__":
    main()
