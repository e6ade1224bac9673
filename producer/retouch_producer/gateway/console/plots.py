"""The plots of the overview for the last hour, day or three days. They use the same counts as `/v1/stats`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from retouch.store.history import DAY_S, HOUR_S, MINUTE_S, History, Period
from retouch.store.history_counts import Latency, summed
from retouch.store.ledger import CLASSES, prices_of
from retouch.store.redis_commands import Client
from retouch.store.stats import LatencySummary, Prices, StatsRow, stats_row
from retouch_producer.gateway.console.wording import count, duration

RangeName = Literal["hour", "day", "days"]
CODES_MOST = 5
"""How many error codes have a colour of their own. All other codes form one series."""
OTHER_CODES = "other"
_PERCENTS = (50, 95)


@dataclass(frozen=True, slots=True)
class Range:
    """
    A time range that ends now. `seconds` is its length; `step_s` is the length of one period of its plots, in seconds.
    """

    words: str
    seconds: int
    step_s: int
    step_words: str


RANGES: dict[RangeName, Range] = {
    "hour": Range("Last hour", HOUR_S, MINUTE_S, "by minute"),
    "day": Range("Last day", DAY_S, 30 * MINUTE_S, "by half hour"),
    "days": Range("Last three days", 3 * DAY_S, 2 * HOUR_S, "by two hours"),
}


@dataclass(frozen=True, slots=True)
class Series:
    """
    One line of a plot, or one part of its bars.

    `values` has one value for each period. `total` is the value for the whole range, as text. `colour` names a colour
    of the style sheet. `address` is a page that lists the counted items, or an empty text.
    """

    name: str
    colour: str
    values: tuple[float | None, ...]
    total: str
    is_line: bool = False
    address: str = ""


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot. `figure` is the number above it, and `note` is the text beside that number."""

    id: str
    title: str
    unit: Literal["count", "seconds"]
    figure: str
    note: str
    series: tuple[Series, ...]

    def rows(self, starts: Sequence[float]) -> list[tuple[float, list[str]]]:
        """Return (start, values as text) of each period in which anything happened, newest first."""
        write = count if self.unit == "count" else duration
        columns = [[one.values[place] for one in self.series] for place in range(len(starts))]
        return [
            (at, ["–" if value is None else write(value) for value in values])
            for at, values in reversed(list(zip(starts, columns, strict=True)))
            if any(values)
        ]

    def named(self, values: Sequence[str]) -> list[tuple[str, str]]:
        """Return the (value, series name) pairs of a row, without values of 0."""
        return [(value, one.name) for value, one in zip(values, self.series, strict=True) if value != "0"]


@dataclass(frozen=True, slots=True)
class Plots:
    """
    All plots of a range, from one read of history.

    `starts` are the instants at which the range's periods begin, in Unix seconds.
    """

    range: Range
    since: float
    starts: tuple[float, ...]
    total: StatsRow
    plots: tuple[Plot, ...]

    @property
    def figures(self) -> dict[str, object]:
        """Return the data from which the page's script draws the plots, as a dict that can be written as JSON."""
        return {
            "start": self.since,
            "count": len(self.starts),
            "step": self.range.step_s,
            "plots": {
                plot.id: {
                    "unit": plot.unit,
                    "series": [
                        {"colour": one.colour, "line": one.is_line, "values": _short(one.values)} for one in plot.series
                    ],
                }
                for plot in self.plots
            },
        }


def read_plots(client: Client, price: float, name: RangeName, tenant: str) -> Plots:
    """
    Return the plots of a range that ends now. If `tenant` is empty, the plots count the jobs of all tenants.

    History is read once for all plots.
    """
    chosen, history = RANGES[name], History(client)
    now = float(client.time()[0])
    # From the start of a period on, so that the first one is whole and the sums are those of `/v1/stats` since then.
    since = (now - chosen.seconds) // chosen.step_s * chosen.step_s
    periods = history.series(since, step_s=chosen.step_s, tenant=tenant or None)
    counts = summed(period.counts for period in periods)
    prices = Prices(price, prices_of(client, sorted(counts.charges_by_account)))
    total = stats_row("", counts, max(1.0, now - since), prices)
    plots = (
        _ended(periods, total),
        _failures(periods, total),
        _calls(periods, total, price),
        _latency(periods, "wait", "Wait for a slot", total.wait_s),
        _latency(periods, "endpoint", "Call of the endpoint", total.endpoint_s),
        _deliveries(periods, total),
    )
    return Plots(chosen, since, tuple(period.at for period in periods), total, plots)


def _ended(periods: Sequence[Period], total: StatsRow) -> Plot:
    def part(state: str, colour: str) -> Series:
        values = _values(periods, "ended", state)
        return Series(state, colour, values, count(total.ended.get(state, 0)), address=f"/console/jobs?state={state}")

    parts = (part("succeeded", "--use-useful"), part("failed", "--use-wasted"), part("cancelled", "--use-unknown"))
    enqueued = tuple(period.counts.enqueued for period in periods)
    line = Series("enqueued", "--work", enqueued, count(total.enqueued), is_line=True)
    note = f"{total.ended_per_s * HOUR_S:,.0f} an hour"
    return Plot("ended", "Jobs ended", "count", count(sum(total.ended.values())), note, (*parts, line))


def _failures(periods: Sequence[Period], total: StatsRow) -> Plot:
    shown = list(total.failures)[:CODES_MOST]
    series = [
        Series(
            code,
            f"--mix-{place}",
            _values(periods, "failures", code),
            count(total.failures[code]),
            address=f"/console/jobs?{urlencode({'code': code})}",
        )
        for place, code in enumerate(shown, 1)
    ]
    rest = sum(number for code, number in total.failures.items() if code not in shown)
    if rest:
        failures = [period.counts.failures for period in periods]
        values = tuple(sum(number for code, number in one.items() if code not in shown) for one in failures)
        series.append(Series(OTHER_CODES, "--use-unknown", values, count(rest)))
    failed, ended = sum(total.failures.values()), sum(total.ended.values())
    note = f"{100 * failed / ended:.1f} % of those that ended" if ended else ""
    return Plot("failures", "Failures by code", "count", count(failed), note, tuple(series))


def _calls(periods: Sequence[Period], total: StatsRow, price: float) -> Plot:
    series = tuple(
        Series(
            use,
            f"--use-{use}",
            _values(periods, "charges", use),
            count(getattr(total.cost, use)),
        )
        for use in CLASSES
    )
    note = f"{total.cost.amount:,.2f} at most" if price or total.cost.amount else ""
    return Plot("calls", "Calls by use", "count", count(sum(getattr(total.cost, use) for use in CLASSES)), note, series)


def _latency(periods: Sequence[Period], name: Latency, title: str, total: LatencySummary) -> Plot:
    distributions = [period.counts.latency(name) for period in periods]
    series = tuple(
        Series(
            f"p{percent}",
            colour,
            tuple(one.percentile(percent) for one in distributions),
            duration(getattr(total, f"p{percent}")),
            is_line=True,
        )
        for percent, colour in zip(_PERCENTS, ("--work", "--accent-fill"), strict=True)
    )
    return Plot(name, title, "seconds", duration(total.p50), f"median of {count(total.count)}", series)


def _deliveries(periods: Sequence[Period], total: StatsRow) -> Plot:
    words = {"delivered": "--use-useful", "retrying": "--use-repeated", "dead": "--use-wasted"}
    series = tuple(
        Series(
            "gave up" if state == "dead" else state,
            colour,
            _values(periods, "deliveries", state),
            count(total.deliveries.get(state, 0)),
            address=f"/console/deliveries?state={state}",
        )
        for state, colour in words.items()
    )
    figure = count(sum(total.deliveries.values()))
    return Plot("deliveries", "Delivery attempts", "count", figure, "", series)


def _values(
    periods: Iterable[Period], counted: Literal["ended", "failures", "charges", "deliveries"], name: str
) -> tuple[int, ...]:
    return tuple(getattr(period.counts, counted).get(name, 0) for period in periods)


def _short(values: Iterable[float | None]) -> list[float | None]:
    """Return the values, with floats rounded to three significant digits, since a plot shows no more."""
    return [float(f"{value:.3g}") if isinstance(value, float) else value for value in values]
