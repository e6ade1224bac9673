"""The plotted line of a learnt limit: its corners are inside the plot, in the order of time, and end at the present."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from retouch.store.accounts import LimitStep
from retouch_producer.gateway.console.limit_plot import HEIGHT, SPAN_S, WIDTH, limit_plot

NOW = 1_700_000_000.0


def corners(points: str) -> list[tuple[float, ...]]:
    return [tuple(map(float, pair.split(","))) for pair in points.split(" ")]


def test_a_limit_without_changes_is_a_level_line() -> None:
    """Without steps the line is level from three days ago until now."""
    plot = limit_plot([], 5, NOW)
    first, last = corners(plot.points)
    assert (first[0], last[0], first[1]) == (0.0, float(WIDTH), last[1])
    assert (plot.least, plot.most, plot.changes, plot.since) == (5, 5, 0, NOW - SPAN_S)


def test_a_step_has_two_corners() -> None:
    """A step of the limit makes two corners at one instant, so that each part of the line is level or vertical."""
    plot = limit_plot([LimitStep(NOW - 200, 4), LimitStep(NOW - 100, 2)], 2, NOW)
    found = corners(plot.points)
    assert [round(x) for x, _ in found] == [0, 0, 0, 500, 500, 1000]
    assert all(one[0] == other[0] or one[1] == other[1] for one, other in pairwise(found))
    assert (plot.least, plot.most, plot.changes) == (2, 4, 2)


def test_the_line_ends_at_the_present_limit() -> None:
    """If the last known step does not lead to the present limit, the line has one more step at its end."""
    plot = limit_plot([LimitStep(NOW - 100, 4)], 2, NOW)
    (_, before), (x, after) = corners(plot.points)[-2:]
    assert (x, round((HEIGHT - before) / (HEIGHT - after), 2)) == (WIDTH, 2.0)
    assert (plot.least, plot.most) == (2, 4)


@given(st.lists(st.tuples(st.floats(0, 2 * SPAN_S), st.integers(1, 15)), max_size=40), st.integers(1, 15))
def test_the_line_stays_in_its_box(ages: list[tuple[float, int]], limit: int) -> None:
    """For any changes of a limit, every corner is inside the plot, and no corner is to the left of the previous one."""
    steps = [LimitStep(NOW - age, to) for age, to in sorted(ages, reverse=True)]
    found = corners(limit_plot(steps, limit, NOW).points)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)
    assert [x for x, _ in found] == sorted(x for x, _ in found)
