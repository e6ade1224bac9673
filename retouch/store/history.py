"""
History: counts of what happened, by minute (for 72 hours), by hour (for 90 days) and in all.

The scripts that move jobs and deliveries also write the counts of the present minute (history.lua), in the same atomic
step. When a minute is over, `roll_up` adds its counts to its hour and to the totals. A row of counts is for all tenants
(`*`), for one tenant (`t:NAME`) or for one account (`a:ID`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from retouch.accounts import DEFAULT_ACCOUNT
from retouch.store.history_counts import HistoryCounts, summed
from retouch.store.redis_commands import Client, Script, Value
from retouch.store.scripts import load

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
MINUTES_KEPT_S, HOURS_KEPT_S = 3 * DAY_S, 90 * DAY_S
OTHER_TENANTS = "other"
"""The row that sums up the tenants beyond the 100 busiest of a minute or hour, or beyond 1,000 in the totals."""

By = Literal["account", "tenant"]
_ALL, _NONE = "*", "-"
_PREFIXES: dict[By, str] = {"account": "a:", "tenant": "t:"}
_EVER = 10**9
"""A number that is greater than the number of any minute."""
_ROLLED_AT_ONCE = 5_000

_Rows = dict[str, HistoryCounts]


@dataclass(frozen=True, slots=True)
class Period:
    """The counts of a period that begins at `at` (Unix seconds) and lasts `seconds` seconds."""

    at: float
    seconds: int
    counts: HistoryCounts


class History:
    """Reads the counts, including those of the present minute. Each call reads them in one atomic step."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._read: Script[tuple[list[list[str]], list[tuple[str, list[str]]]]] = load(client, "read_history")

    def between(self, since: float, until: float | None = None, *, tenant: str | None = None) -> HistoryCounts:
        """
        Return the counts between two instants (Unix seconds; until now by default), of one tenant or of all.

        The first and the last minute are counted in full. If `since` is more than 72 hours ago, the first hour is
        counted in full. Counts older than 90 days are not kept.
        """
        row = f"t:{tenant}" if tenant else _ALL
        return self._sums(since, until, row).get(row, HistoryCounts())

    def between_by(self, by: By, since: float, until: float | None = None) -> dict[str, HistoryCounts]:
        """
        Return {account or tenant: counts} between two instants (Unix seconds; until now by default).

        Accounts have no counts of enqueued jobs and of deliveries. In each minute, the 100 busiest tenants have their
        own counts; all other tenants are summed up as `other`.
        """
        return _named(by, self._sums(since, until, ""))

    def totals(self, *, tenant: str | None = None) -> HistoryCounts:
        """Return the counts since the beginning, of one tenant or of all; these counts never decrease."""
        row = f"t:{tenant}" if tenant else _ALL
        hashes, open_rows = self._rows(row, 0, _EVER, ["totals"])
        return summed(rows[row] for rows in (*hashes, open_rows) if row in rows)

    def totals_by(self, by: By) -> dict[str, HistoryCounts]:
        """Return the counts since the beginning, for each account or tenant; these counts never decrease."""
        hashes, open_rows = self._rows("", 0, _EVER, ["totals"])
        return _named(by, _joined([*hashes, open_rows]))

    def series(
        self, since: float, until: float | None = None, *, step_s: int = MINUTE_S, tenant: str | None = None
    ) -> list[Period]:
        """
        Return the counts of each period of `step_s` seconds between two instants, oldest first.

        Periods without counts are returned too. Raise `ValueError` if `step_s` is no whole number of minutes. If
        `step_s` is a whole number of hours, the periods reach back up to 90 days, otherwise up to 72 hours.
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
    """
    Return the first and the last minute of a range, and the names of the hashes that hold its counts.

    A whole hour has one hash, so that few hashes are read. All instants are in Unix seconds.
    """
    first, last, current = int(since // MINUTE_S), int(until // MINUTE_S), int(now // MINUTE_S)
    # An expired minute is counted in its hour only, so a range that begins with such a minute begins with that hour.
    oldest = current - MINUTES_KEPT_S // MINUTE_S + 1
    if first < oldest:
        first = max(first // 60 * 60, current - HOURS_KEPT_S // MINUTE_S)
    names, minute = [], first
    while minute <= last:
        # The present hour is whole if the range ends now: its later minutes have no counts yet.
        is_whole = minute % 60 == 0 and (minute + 59 <= last or last >= current)
        if is_whole or minute < oldest:
            names.append(f"hour:{minute // 60}")
            minute = (minute // 60 + 1) * 60
        else:
            names.append(f"minute:{minute}")
            minute += 1
    return first, last, names


def roll_up(client: Client) -> None:
    """
    Add the minutes that are over to their hours and to the totals.

    Any process may call this, at any time and any number of times: each minute is added once.
    """
    run: Script[int] = load(client, "roll_up")
    while run(args=[_ROLLED_AT_ONCE]):
        pass


def _counts(text: str) -> HistoryCounts:
    pairs = (word.rpartition("=") for word in text.split())
    return HistoryCounts({name: int(count) for name, _, count in pairs})


def _open_rows(flat: Sequence[str]) -> _Rows:
    """Return the rows of an open minute; `history_rows.of_open_minute` makes the same rows when the minute is over."""
    rows: dict[str, dict[str, int]] = {}
    for field, count in zip(flat[::2], flat[1::2], strict=True):
        names, account, tenant = field.split(" ")
        for name in names.split("+"):
            is_priced = name.startswith("charges") and account != DEFAULT_ACCOUNT
            own = f"{name}:{account}" if is_priced else name
            places = [(_ALL, own), (f"t:{tenant}", own), *([] if account == _NONE else [(f"a:{account}", name)])]
            for row, counted in places:
                counts = rows.setdefault(row, {})
                counts[counted] = counts.get(counted, 0) + int(count)
    return {row: HistoryCounts(counts) for row, counts in rows.items()}


def _joined(parts: Iterable[_Rows]) -> _Rows:
    found: dict[str, list[HistoryCounts]] = {}
    for rows in parts:
        for row, counts in rows.items():
            found.setdefault(row, []).append(counts)
    return {row: summed(counts) for row, counts in found.items()}


def _named(by: By, rows: _Rows) -> dict[str, HistoryCounts]:
    """Return {account or tenant: counts}. If `by` is `tenant`, the row `other` is included."""
    prefix = _PREFIXES[by]
    named = {row.removeprefix(prefix): counts for row, counts in sorted(rows.items()) if row.startswith(prefix)}
    if by == "tenant" and OTHER_TENANTS in rows:
        named[OTHER_TENANTS] = summed([rows[OTHER_TENANTS], named.get(OTHER_TENANTS, HistoryCounts())])
    return named
