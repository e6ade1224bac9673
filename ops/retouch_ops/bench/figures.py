"""The figures of a measurement, as rows of a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Scale = Literal["small", "full"]

_HEADINGS = ("measured", "Retouch", "aim", "no queue", "plain Celery", "x no queue", "x Celery", "note")


@dataclass(frozen=True)
class Row:
    """
    One figure of Retouch (`ours`), and the same figure of the two baselines. None stands for a figure that is missing.

    `aim` is the figure that Retouch should reach: a minimum if `more_is_better`, else a maximum.
    """

    what: str
    unit: str
    ours: float
    no_queue: float | None = None
    celery: float | None = None
    aim: float | None = None
    more_is_better: bool = False
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the aim was reached; None if there is no aim."""
        if self.aim is None:
            return None
        return self.ours >= self.aim if self.more_is_better else self.ours <= self.aim

    def ratio(self, baseline: float | None) -> float | None:
        """Return Retouch's figure divided by a baseline's figure, or None if the baseline's figure is None or 0."""
        return self.ours / baseline if baseline else None

    def as_json(self) -> dict[str, object]:
        """Return the row as a JSON object, with the ratios and whether the aim was reached."""
        ratios = {"times_no_queue": self.ratio(self.no_queue), "times_celery": self.ratio(self.celery)}
        return {**asdict(self), "reached": self.reached, **ratios}


def comparison(
    what: str, unit: str, figures: Sequence[float], factor: float = 1.0, *, aim: float | None = None, note: str = ""
) -> Row:
    """Return a row for three figures, each multiplied by `factor`. The order is Retouch, no queue, plain Celery."""
    ours, plain, celery = (figure * factor for figure in figures)
    return Row(what, unit, ours, plain, celery, aim, note=note)


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile of the values. `share` is from 0 to 1, such as 0.5 for the median."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def number(value: float | None) -> str:
    """Return a figure as text with three significant digits; a dash for None."""
    if value is None:
        return "-"
    if abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a table in columns, for people."""
    lines = [_HEADINGS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    return "\n".join(_padded(line, widths) for line in lines)


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    sign = ">=" if row.more_is_better else "<="
    reached = {None: "", True: " ok", False: " MISSED"}[row.reached]
    aim = f"{sign} {number(row.aim)}{reached}" if row.aim is not None else "-"
    ratios = row.ratio(row.no_queue), row.ratio(row.celery)
    baselines = [number(figure) for figure in (row.no_queue, row.celery, *ratios)]
    return (f"{row.what} [{row.unit}]", number(row.ours), aim, *baselines, row.note)
