"""
Reads history: what happened in each minute (72 hours), in each hour (90 days) and since ever; rolls it up.

The scripts that move jobs and deliveries write the counts of the minute (history.lua), so a count is as exact as the
move. When a minute is over, `roll_up` adds it to its hour and to the totals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from retouch.store.history_counts import HistoryCounts, summed
from retouch.store.redis_commands import Client, Script, Value
from retouch.store.scripts import load

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
MINUTES_KEPT_S, HOURS_KEPT_S = 3 * DAY_S, 90 * DAY_S
OTHER_TENANTS = "other"
"""The row for all tenants beyond the 100 busiest of a minute or hour, and beyond 1,000 since ever."""

By = Literal["account", "tenant"]
_ALL, _NONE = "*", "-"
_PREFIXES: dict[By, str] = {"account": "a:", "tenant": "t:"}
_EVER = 10**9
"""A minute after all others."""
_ROLLED_AT_ONCE = 5_000

_Rows = dict[str, HistoryCounts]


@dataclass(frozen=True, slots=True)
class Period:
    """What happened in `seconds` seconds from `at` on (Unix seconds)."""

    at: float
    seconds: int
    counts: HistoryCounts


class History:
    """Reads the counts that the scripts write; each reading is one step in Redis, the current minute included."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._read: Script[tuple[list[list[str]], list[tuple[str, list[str]]]]] = load(client, "read_history")

    def between(self, since: float, until: float | None = None, *, tenant: str | None = None) -> HistoryCounts:
        """
        Sum up what happened between two instants (Unix seconds; until now by default), of one tenant or of all.

        The first and last minute count as a whole. What began more than 72 hours ago is known by the hour, and nothing
        older than 90 days is known at all.
        """
        row = f"t:{tenant}" if tenant else _ALL
        return self._sums(since, until, row).get(row, HistoryCounts())

    def between_by(self, by: By, since: float, until: float | None = None) -> dict[str, HistoryCounts]:
        """
        Sum up what happened between two instants by account or tenant.

        Enqueued jobs and deliveries belong to no account. Tenants beyond the 100 busiest of a minute are summed up as
        `other`.
        """
        return _named(by, self._sums(since, until, ""))

    def totals(self, *, tenant: str | None = None) -> HistoryCounts:
        """Sum up all that ever happened, of one tenant or of all; these counts never go down."""
        row = f"t:{tenant}" if tenant else _ALL
        hashes, open_rows = self._rows(row, 0, _EVER, ["totals"])
        return summed(rows[row] for rows in (*hashes, open_rows) if row in rows)

    def totals_by(self, by: By) -> dict[str, HistoryCounts]:
        """Sum up all that ever happened by account or tenant; these counts never go down."""
        hashes, open_rows = self._rows("", 0, _EVER, ["totals"])
        return _named(by, _joined([*hashes, open_rows]))

    def series(
        self, since: float, until: float | None = None, *, step_s: int = MINUTE_S, tenant: str | None = None
    ) -> list[Period]:
        """
        Return what happened in each step between two instants, oldest first, with those in which nothing did.

        `step_s` is a whole number of minutes (60 s, for the last 72 hours) or of hours (3,600 s).
        """
        if step_s % MINUTE_S or step_s <= 0:
            raise ValueError(f"step_s: expected a whole number of minutes, got {step_s}")
        now = self._now()
        unit = HOUR_S if step_s % HOUR_S == 0 else MINUTE_S
        last = int(min(until or now, now) // unit)
        first = max(int(since // step_s) * step_s, int(now) - (HOURS_KEPT_S if unit == HOUR_S else MINUTES_KEPT_S))
        first //= unit
        name, row = ("hour" if unit == HOUR_S else "minute"), f"t:{tenant}" if tenant else _ALL
        names = [f"{name}:{place}" for place in range(first, last + 1)]
        minutes = unit // MINUTE_S
        hashes, open_minutes = self._reply(row, first * minutes, last * minutes + minutes - 1, names)
        parts: dict[int, list[HistoryCounts]] = {}
        for place, rows in zip(range(first, last + 1), hashes, strict=True):
            parts.setdefault(place * unit // step_s, []).extend(rows.values())
        for minute, rows in open_minutes:
            if row in rows:
                parts.setdefault(minute * MINUTE_S // step_s, []).append(rows[row])
        return [Period(float(step * step_s), step_s, summed(found)) for step, found in sorted(parts.items())]

    def _now(self) -> float:
        return float(self._client.time()[0])

    def _sums(self, since: float, until: float | None, row: str) -> _Rows:
        now = self._now()
        first, last, names = spans(since, min(until or now, now), now)
        hashes, open_rows = self._rows(row, first, last, names)
        return _joined([*hashes, open_rows])

    def _rows(self, row: str, first: int, last: int, names: Sequence[str]) -> tuple[list[_Rows], _Rows]:
        hashes, open_minutes = self._reply(row, first, last, names)
        return hashes, _joined(rows for _, rows in open_minutes)

    def _reply(
        self, row: str, first: int, last: int, names: Sequence[str]
    ) -> tuple[list[_Rows], list[tuple[int, _Rows]]]:
        values: list[Value] = [row, first, last, *names]
        hashes, open_minutes = self._read(args=values)
        return (
            [dict(zip(flat[::2], map(_counts, flat[1::2]), strict=True)) for flat in hashes],
            [(int(minute), _open_rows(flat)) for minute, flat in open_minutes],
        )


def spans(since: float, until: float, now: float) -> tuple[int, int, list[str]]:
    """Return the first and last minute between two instants, and the fewest hashes that hold the minutes between."""
    first, last, current = int(since // MINUTE_S), int(until // MINUTE_S), int(now // MINUTE_S)
    # An expired minute is still in its hour, so a range that begins with one begins with the whole hour.
    oldest = current - MINUTES_KEPT_S // MINUTE_S + 1
    if first < oldest:
        first = max(first // 60 * 60, current - HOURS_KEPT_S // MINUTE_S)
    names, minute = [], first
    while minute <= last:
        # Of the current hour nothing is left out: its later minutes are still to come.
        is_whole = minute % 60 == 0 and (minute + 59 <= last or last >= current)
        if is_whole or minute < oldest:
            names.append(f"hour:{minute // 60}")
            minute = (minute // 60 + 1) * 60
        else:
            names.append(f"minute:{minute}")
            minute += 1
    return first, last, names


def roll_up(client: Client) -> None:
    """Roll up the minutes that are over; any process may call this, at any time and any number of times."""
    run: Script[int] = load(client, "roll_up")
    while run(args=[_ROLLED_AT_ONCE]):
        pass


def _counts(text: str) -> HistoryCounts:
    pairs = (word.rpartition("=") for word in text.split())
    return HistoryCounts({name: int(count) for name, _, count in pairs})


def _open_rows(flat: Sequence[str]) -> _Rows:
    rows: dict[str, dict[str, int]] = {}
    for field, count in zip(flat[::2], flat[1::2], strict=True):
        name, account, tenant = field.split(" ")
        for row in (_ALL, f"t:{tenant}", *([] if account == _NONE else [f"a:{account}"])):
            counts = rows.setdefault(row, {})
            counts[name] = counts.get(name, 0) + int(count)
    return {row: HistoryCounts(counts) for row, counts in rows.items()}


def _joined(parts: Iterable[_Rows]) -> _Rows:
    found: dict[str, list[HistoryCounts]] = {}
    for rows in parts:
        for row, counts in rows.items():
            found.setdefault(row, []).append(counts)
    return {row: summed(counts) for row, counts in found.items()}


def _named(by: By, rows: _Rows) -> dict[str, HistoryCounts]:
    """Return the rows of accounts, or those of tenants and the row for the others, without their prefixes."""
    prefix = _PREFIXES[by]
    named = {row.removeprefix(prefix): counts for row, counts in sorted(rows.items()) if row.startswith(prefix)}
    if by == "tenant" and OTHER_TENANTS in rows:
        named[OTHER_TENANTS] = summed([rows[OTHER_TENANTS], named.get(OTHER_TENANTS, HistoryCounts())])
    return named
