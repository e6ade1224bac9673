"""Prints tables for people. No cell is cut off, so grep and awk find whole values in a table."""

from __future__ import annotations

import time
from collections.abc import Sequence

_STEPS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "m"))


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]], if_empty: str) -> None:
    """Print a table with a heading line, or the line `if_empty` if there are no rows."""
    if not rows:
        print(if_empty)
        return
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def ago(at: float | None) -> str:
    """Return how long ago an instant was, such as `5s`. For a future instant, return `in 5s`; for None, return `-`."""
    if not at:
        return "-"
    past_s = time.time() - at
    # The clocks of two machines differ, so half a second ahead counts as now.
    return f"in {span(-past_s)}" if past_s < -0.5 else span(max(past_s, 0.0))


def span(seconds: float) -> str:
    """Return a duration in seconds as text in its largest unit, such as `3h`."""
    size, unit = next(((size, unit) for size, unit in _STEPS if seconds >= size), (1.0, "s"))
    return f"{seconds / size:.0f}{unit}"
