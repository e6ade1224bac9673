"""Formats numbers, instants, durations and money for the pages."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def duration(seconds: float | None) -> str:
    """
    Return a duration as text in its two largest units; `–` for None.

    Examples: `0.24 s`, `14.6 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
    """
    if seconds is None:
        return "–"
    if seconds < 59.95:  # and not what would be shown as 60.0
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    seconds = max(60, int(seconds))
    smaller = {86_400: (3_600, "h"), 3_600: (60, "min"), 60: (1, "s")}
    size, unit = next(pair for pair in _UNITS if seconds >= pair[0])
    part, part_unit = smaller[size]
    rest = int(seconds % size // part)
    return f"{int(seconds // size)} {unit}" + (f" {rest} {part_unit}" if rest else "")


def ago(at: float | None) -> str:
    """
    Return the distance of an instant (Unix seconds) from now as text: `3 min ago`, `now`, `in 10 s`; `never` for None.
    """
    if at is None:
        return "never"
    seconds = time.time() - at
    if abs(seconds) < 1:
        return "now"
    whole = duration(abs(seconds)) if abs(seconds) >= 60 else f"{int(abs(seconds))} s"
    return f"in {whole}" if seconds < 0 else f"{whole} ago"


def instant(at: float | None) -> str:
    """Return an instant (Unix seconds) as text in UTC, to the second; `–` for None."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") if at else "–"


def iso_instant(at: float) -> str:
    """Return an instant (Unix seconds) in ISO 8601, for the HTML attribute `datetime`."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def clock(at: float) -> str:
    """Return the time of day of an instant (Unix seconds) in UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def count(number: float) -> str:
    """Return a number as text, without fraction and with thousands separators."""
    return f"{int(number):,}"


def plural(number: int, singular: str, several: str = "") -> str:
    """
    Return a number with its noun: `singular` for 1, else `several`. The default of `several` is `singular` with an s.
    """
    return f"{number:,} {singular if number == 1 else several or singular + 's'}"


def calls(number: int, price: float) -> str:
    """Return a number of calls as text, with its cost if a price is set."""
    words = plural(number, "call")
    return f"{words} · {number * price:,.2f}" if price else words


def size(count_of_bytes: float) -> str:
    """Return a number of bytes as text in B, kB or MB."""
    if count_of_bytes < 1_000:
        return f"{int(count_of_bytes)} B"
    return f"{count_of_bytes / 1e3:.0f} kB" if count_of_bytes < 1e6 else f"{count_of_bytes / 1e6:.1f} MB"


_IDS = {"rc_": "receivers", "ed_": "jobs", "dl_": "deliveries", "bk_": "bulk"}
_ID = re.compile(r"((?:rc|ed|bk)_[0-9a-f]{20,}|dl_[0-9a-f]{20,}[0-9-]*)")


def linked_ids(text: str) -> Iterator[tuple[str, str]]:
    """
    Divide one of our own texts into ids and the text between them.

    Yield (address of the page, id) for each id, and ("", text) for other text. The template escapes every part.
    """
    for part in filter(None, _ID.split(text)):
        is_id = _ID.fullmatch(part) is not None
        yield f"/console/{_IDS[part[:3]]}/{part}" if is_id else "", part


def sentence(text: str) -> str:
    """Return one of our own texts as a sentence: with a capital first letter and a full stop at the end."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def code_spans(text: str) -> Iterator[tuple[bool, str]]:
    """
    Divide one of our own texts at its backticks.

    Yield (True, text) for a part in backticks, and (False, text) for any other part. The template escapes every part.
    """
    for place, part in enumerate(re.split("`", text)):
        if part:
            yield place % 2 == 1, part
