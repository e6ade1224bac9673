"""Parses what people type: numbers, times, tags and lists of ids."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime

from retouch_producer.cli.errors import UsageError

_NUMBER = re.compile(r"[+-]?[0-9]+(?P<rest>\.[0-9]+)?")
_AGO = re.compile(r"(?P<count>[0-9]+(\.[0-9]+)?)(?P<unit>[smhdw])")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_LEAST_UNIX = 1e8  # 1973: a smaller number is a mistake, such as 30 for 30m


def number(text: str) -> int | float | str:
    """
    Return the number that a text stands for. If the text is no number, return it unchanged.

    The later check of the edit then refuses the text, with a message that names the field and the range.
    """
    match = _NUMBER.fullmatch(text.strip())
    # Python refuses to convert thousands of digits, with an error that names no field.
    if match is None or len(text) > 40:
        return text
    return float(text) if match["rest"] else int(text)


def since(text: str | None) -> float:
    """
    Return a time as Unix seconds, or 0 for None.

    The text is an age (`90s`, `15m`, `1h`, `2d`, `1w`), an ISO 8601 time or Unix seconds. Raises `UsageError` for any
    other text.
    """
    return 0.0 if text is None else _instant(text, "--since")


def until(text: str | None) -> float:
    """Return a time as Unix seconds, or infinity for None. The text has the forms of `since`. Raises `UsageError`."""
    return float("inf") if text is None else _instant(text, "--until")


def _instant(text: str, option: str) -> float:
    if ago := _AGO.fullmatch(text):
        return time.time() - float(ago["count"]) * _UNIT_S[ago["unit"]]
    value = number(text)
    if not isinstance(value, str) and value >= _LEAST_UNIX:
        return float(value)
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError):
        pass
    raise UsageError(
        f"{option}: expected an age such as 15m, 1h or 2d, an ISO 8601 time or Unix seconds, got {text[:40]!r}"
    )


def tags(pairs: Sequence[str]) -> dict[str, str]:
    """Return `name=value` pairs as a dictionary. Raises `UsageError` for a text without a name or `=`."""
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            raise UsageError(f"--tag: expected name=value, got {pair[:40]!r}")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def ids(typed: Sequence[str]) -> list[str]:
    """
    Return the ids in order, without duplicates. `-` stands for the ids on standard input.

    Raises `UsageError` if there is no id.
    """
    typed_ids = [word for item in typed for word in (sys.stdin.read().split() if item == "-" else [item])]
    if not typed_ids:
        raise UsageError("expected at least one id, got none")
    return list(dict.fromkeys(typed_ids))
