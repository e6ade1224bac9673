"""Computes the plot of an account's learnt limit over time: the corners of a stepped line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retouch.store.accounts import LimitStep

WIDTH, HEIGHT = 1_000, 100
SPAN_S = 3 * 86_400.0
_HEADROOM = 1.15


@dataclass(frozen=True, slots=True)
class LimitPlot:
    """
    The plot of a limit from `since` (Unix seconds) until now, in a box of 1,000 × 100.

    `points` are the corners of the line. `least` is the lowest limit in the plot, `most` is the highest limit, and
    `changes` is the number of changes.
    """

    points: str
    least: int
    most: int
    changes: int
    since: float


def limit_plot(steps: Sequence[LimitStep], limit: int, now: float) -> LimitPlot:
    """
    Return the plot of a limit over the last three days. If the first known change is later, the plot begins there.

    `steps` are the known changes, oldest first. `limit` is the present limit.
    """
    begin = now - SPAN_S
    shown = [step for step in steps if step.at >= begin]
    before = [step for step in steps if step.at < begin]
    first = before[-1].limit if before else shown[0].limit if shown else limit
    since = begin if before or not shown else shown[0].at
    limits = [first, *(step.limit for step in shown), limit]
    scale = HEIGHT / (max(limits) * _HEADROOM)
    span = max(now - since, 1.0)

    def corner(at: float, height: int) -> str:
        return f"{(at - since) / span * WIDTH:.1f},{HEIGHT - height * scale:.1f}"

    corners, last = [corner(since, first)], first
    for step in shown:
        corners += [corner(step.at, last), corner(step.at, step.limit)]
        last = step.limit
    corners.append(corner(now, last))
    if limit != last:  # the present limit is not the one of the last known step: its record may be missing
        corners.append(corner(now, limit))
    return LimitPlot(" ".join(corners), min(limits), max(limits), len(shown), since)
