"""Tests of the plots on the overview: their figures equal `GET /v1/stats` in each range, also without JavaScript."""

from __future__ import annotations

import html
import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.gateway_process import Callers
from tests.history_kit import put_counts
from tests.integration.console.conftest import People, words_of

COUNTS = {
    "enqueued - acme": 7,
    "ended:succeeded default acme": 5,
    "ended:failed:spam_filter default acme": 3,
    "ended:failed:endpoint_failed default acme": 2,
    "ended:cancelled:before_charge default acme": 1,
    "calls default acme": 9,
    "charges:useful default acme": 5,
    "charges:wasted default acme": 3,
    "charges:repeated default acme": 1,
    "charges:unknown default acme": 2,
    "charges_back:unknown default acme": 1,
    "wait:0.5 default acme": 4,
    "wait:10 default acme": 2,
    "endpoint:3 default acme": 6,
    "endpoint:8 default acme": 2,
    "deliveries:delivered - acme": 4,
    "deliveries:retrying - acme": 2,
    "deliveries:dead - acme": 1,
    "ended:succeeded default globex": 11,
}
MINUTES_AGO = (0, 3, 50, 200, 1_200, 3_000)


@pytest.fixture
def history(client: Any) -> None:
    """Write the same counts for six minutes: now, and 3, 50, 200, 1,200 and 3,000 minutes ago."""
    for minutes in MINUTES_AGO:
        put_counts(client, int(time.time() // 60) - minutes, COUNTS)


def figures_of(page: str) -> dict[str, Any]:
    (raw,) = re.findall(r'data-figures="([^"]*)"', page)
    figures: dict[str, Any] = json.loads(html.unescape(raw))
    return figures


def legends_of(page: str, plot: str) -> dict[str, str]:
    """Return {name: number} of the legend beneath a plot."""
    (panel,) = re.findall(rf'aria-labelledby="plot-{plot}".*?</section>', page, re.DOTALL)
    legend = panel[panel.index('<dl class="legend series">') :]
    pairs = re.findall(r"<div><dt>(.*?)</dt><dd[^>]*>(.*?)</dd></div>", legend)
    return {words_of(name): number for name, number in pairs}


def sums_of(figures: dict[str, Any], plot: str) -> list[int]:
    return [sum(one["values"]) for one in figures["plots"][plot]["series"]]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(("span", "minutes"), [("hour", 3), ("day", 5), ("days", 6)])
@pytest.mark.parametrize("tenant", ["", "acme"])
def test_the_figures_are_those_of_the_statistics(
    people: People, callers: Callers, span: str, minutes: int, tenant: str
) -> None:
    """In each range, the figures of the plots equal those of `/v1/stats` with `since` at the start of the first bar."""
    person = people(tenant) if tenant else people("staff", "viewer")
    page = person.text(f"/console?range={span}")
    figures = figures_of(page)
    since = datetime.fromtimestamp(figures["start"], UTC).isoformat()
    api = callers(tenant) if tenant else callers("staff", "ops")
    total = api.get("/v1/stats", params={"since": since}).json()["total"]
    assert total["enqueued"] == 7 * minutes
    states = ("succeeded", "failed", "cancelled")
    assert sums_of(figures, "ended") == [*(total["ended"][state] for state in states), total["enqueued"]]
    assert sums_of(figures, "failures") == list(total["failures"].values()) == [3 * minutes, 2 * minutes]
    uses = ("useful", "repeated", "wasted", "unknown")
    assert sums_of(figures, "calls") == [total["cost"][use] for use in uses]
    assert legends_of(page, "ended") == {
        **{state: str(total["ended"][state]) for state in states},
        "enqueued": str(total["enqueued"]),
    }
    assert legends_of(page, "failures") == {code: str(number) for code, number in total["failures"].items()}
    assert legends_of(page, "calls") == {use: str(total["cost"][use]) for use in uses}
    deliveries = total["deliveries"]
    assert legends_of(page, "deliveries") == {
        "delivered": str(deliveries["delivered"]),
        "retrying": str(deliveries["retrying"]),
        "gave up": str(deliveries["dead"]),
    }
    for plot in ("wait", "endpoint"):
        shown = {name: float(number.removesuffix(" s")) for name, number in legends_of(page, plot).items()}
        stats = total[f"{plot}_s"]
        assert shown == {name: pytest.approx(stats[name], abs=0.006) for name in ("p50", "p95")}
        assert f"median of {stats['count']}" in words_of(page)


@pytest.mark.usefixtures("history")
def test_the_tables_have_the_same_figures(people: People) -> None:
    """Without JavaScript, and in the table view, each plot is a table of the same values."""
    viewer = people("staff", "viewer")
    plots, tables = viewer.text("/console"), viewer.text("/console?view=table")
    figures = figures_of(plots)
    wanted = [
        [str(one["values"][place]) for one in figures["plots"]["ended"]["series"]]
        for place in reversed(range(figures["count"]))
        if any(one["values"][place] for one in figures["plots"]["ended"]["series"])
    ]
    assert len(wanted) == 3
    for page in (tables, "".join(re.findall(r"<noscript>(.*?)</noscript>", plots, re.DOTALL))):
        (table,) = re.findall(r'<div class="figures"[^>]*aria-label="Jobs ended">.*?</div>', page, re.DOTALL)
        rows = re.findall(r"<tr><td[^>]*>[^<]*</td>(.*?)</tr>", table)
        assert [re.findall(r">(\d+)<", row) for row in rows] == wanted
    assert "data-figures" not in tables
    assert words_of(tables).count("3 spam_filter , 2 endpoint_failed") == 3
    assert "As plots" in tables


def test_nothing_happened(people: People, client: Any) -> None:
    """With an empty history, every table says that nothing happened. An unknown range is answered 422."""
    idle = people("idle")
    page = idle.text("/console?range=days&view=table")
    assert words_of(page).count("Nothing happened.") == 6
    assert set(legends_of(page, "wait").values()) == {"–"}
    assert idle.get("/console?range=year").status_code == 422
