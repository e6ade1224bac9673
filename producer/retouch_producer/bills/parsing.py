"""Parses the vendor's bill: CSV, TSV or a plain list with one line a day, with or without a heading."""

from __future__ import annotations

import csv
import re
from calendar import monthrange
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, NamedTuple

from retouch.errors import RetouchError

BYTES_MOST = 64 * 1024
ROWS_MOST = 2_000
_FAULTS_MOST, _QUOTED_MOST = 20, 40
_LENGTH_MOST = 20
_YEARS = range(2000, 2100)

Column = Literal["day", "calls", "amount", "account"]
_KNOWN: dict[Column, tuple[str, ...]] = {
    # First, since `account` contains `count`.
    "account": ("account", "project", "key"),
    "day": ("date", "day"),
    "calls": ("call", "request", "quantity", "count", "image", "generation", "usage"),
    "amount": ("amount", "cost", "total", "charge", "price", "spend", "spent", "sum"),
}
_OF_ONE_CALL = re.compile(r"\b(per|unit|each|rate)\b")
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
_YEAR_FIRST = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[T ].*)?")
_TOTAL = re.compile(r"(sub|grand )?(total|sum)\b", re.IGNORECASE)
_WHOLE = re.compile(r"-?[0-9]*|-?[0-9]{1,3}(,[0-9]{3})+|-?[0-9]{1,3}(\.[0-9]{3})+")
_CURRENCY = re.compile(r"^(?:[$€£¥]|[A-Z]{3}\b)|(?:[$€£¥]|\b[A-Z]{3})$")


class BillFault(NamedTuple):
    """A fault in one line of a bill. `line` counts from 1; 0 stands for the whole bill."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}" if self.line else self.message


class InvalidBill(RetouchError, ValueError):
    """
    A bill cannot be read, so nothing was compared. `faults` has the first faults, at most 20, in the order of the
    lines.
    """

    def __init__(self, faults: Sequence[BillFault]) -> None:
        self.faults = list(faults[:_FAULTS_MOST])
        super().__init__("; ".join(map(str, self.faults)))


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line of a bill. If the bill lacks a column, `calls` or `amount` is None, or `account` is empty."""

    line: int
    day: date
    calls: int | None
    amount: Decimal | None
    account: str = ""


def decode_bill(body: bytes) -> str:
    """Return the text of a bill. Raise `InvalidBill` if the bytes are too many or not UTF-8."""
    if len(body) > BYTES_MOST:
        raise InvalidBill([BillFault(0, f"expected at most {BYTES_MOST:,} bytes, got {len(body):,}")])
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body[: error.start].count(b"\n") + 1
        raise InvalidBill([BillFault(line, "expected UTF-8 text; save the bill as CSV in UTF-8")]) from None


def parse_bill(text: str) -> list[BillLine]:
    """
    Return the lines of a bill in their order. If lines are wrong, raise `InvalidBill` with the numbers of these lines.

    A heading names the columns. Without a heading, the columns are date, calls and amount, or date and one of the other
    two. Empty lines, totals and lines that begin with `#` are left out.
    """
    size = len(text.encode(errors="replace"))
    if size > BYTES_MOST:
        raise InvalidBill([BillFault(0, f"expected at most {BYTES_MOST:,} bytes, got {size:,}")])
    rows = list(_rows(text.removeprefix("\ufeff")))
    if len(rows) > ROWS_MOST:
        raise InvalidBill([BillFault(rows[ROWS_MOST][0], f"expected at most {ROWS_MOST:,} lines")])
    if not rows:
        raise InvalidBill([BillFault(0, "expected one line for each day: date, calls, amount; got none")])
    columns = _columns(rows)
    lines, faults = list[BillLine](), list[BillFault]()
    for line, cells in rows:
        try:
            lines.append(_line(line, cells, columns))
        except ValueError as error:
            faults.append(BillFault(line, str(error)))
    if faults:
        raise InvalidBill(faults)
    if not lines:
        raise InvalidBill([BillFault(0, "expected one line for each day below the heading, got none")])
    return lines


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the cells of each line. Empty lines, comments and totals are left out."""
    separator = _separator(text)
    try:
        for line, cells in _cells(text, separator):
            shown = [cell.strip() for cell in cells]
            if any(shown) and not shown[0].startswith("#") and not _TOTAL.match(shown[0]):
                yield line, shown
    except csv.Error as error:
        raise InvalidBill([BillFault(0, f"it is no CSV: {error}")]) from None


def _cells(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    lines = text.splitlines()
    if not separator:
        yield from ((place, line.split()) for place, line in enumerate(lines, 1))
        return
    reader = csv.reader(lines, delimiter=separator)
    yield from ((reader.line_num, cells) for cells in reader)


def _separator(text: str) -> str:
    """
    Return the character between cells: tab, semicolon or comma, or "" for blanks.

    Only the first line that has text and is no comment is looked at.
    """
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("#")), "")
    return next((mark for mark in "\t;," if mark in first), "")


def _columns(rows: list[tuple[int, list[str]]]) -> dict[Column, int]:
    """Return the index of each column. Remove the heading from `rows` if there is one."""
    line, first = rows[0]
    if _is_day(first[0]) or not any(_column_of(name) for name in first):
        return _columns_without_heading(rows)
    rows.pop(0)
    found: dict[Column, int] = {}
    for place, name in enumerate(first):
        column = _column_of(name)
        if column:
            found.setdefault(column, place)
    if "day" not in found or not ("calls" in found or "amount" in found):
        message = f"expected a heading with date and calls or amount, got {', '.join(first)[:_QUOTED_MOST]!r}"
        raise InvalidBill([BillFault(line, message)])
    return found


def _columns_without_heading(rows: Sequence[tuple[int, list[str]]]) -> dict[Column, int]:
    if len(rows[0][1]) > 2:
        return {"day": 0, "calls": 1, "amount": 2}
    are_calls = all(re.fullmatch(r"[\d,. ']*", row[1]) and _is_whole(row[1]) for _, row in rows if len(row) > 1)
    return {"day": 0, "calls" if are_calls else "amount": 1}


def _column_of(name: str) -> Column | None:
    lower = name.lower()
    if _OF_ONE_CALL.search(lower):
        return None
    return next((column for column, words in _KNOWN.items() if any(word in lower for word in words)), None)


def _is_day(text: str) -> bool:
    return bool(_YEAR_FIRST.fullmatch(text) or _DAY_FIRST.fullmatch(text))


def _is_whole(text: str) -> bool:
    try:
        return _whole(text) >= 0
    except ValueError:
        return False


def _line(line: int, cells: Sequence[str], columns: dict[Column, int]) -> BillLine:
    def cell(column: Column) -> str | None:
        place = columns.get(column)
        if place is None:
            return None
        if place >= len(cells):
            raise ValueError(f"expected {max(columns.values()) + 1} columns, got {len(cells)}")
        return cells[place]

    def parsed(column: Column, parse: Callable[[str], Decimal]) -> Decimal | None:
        text = cell(column)
        return parse(text) if text is not None else None

    calls = parsed("calls", _whole)
    return BillLine(
        line,
        _day(cell("day") or ""),
        int(calls) if calls is not None else None,
        parsed("amount", _number),
        cell("account") or "",
    )


def _day(text: str) -> date:
    for pattern, order in ((_YEAR_FIRST, (1, 2, 3)), (_DAY_FIRST, (3, 2, 1))):
        if found := pattern.fullmatch(text):
            year, month, day = (int(found[place]) for place in order)
            if year in _YEARS and month in range(1, 13) and 1 <= day <= monthrange(year, month)[1]:
                return date(year, month, day)
    raise ValueError(f"expected a day such as 2026-01-31 or 31.01.2026, got {text[:_QUOTED_MOST]!r}")


def _whole(text: str) -> Decimal:
    number = _number(text)
    if number < 0 or number != number.to_integral_value():
        raise ValueError(f"expected a whole number of calls, got {text[:_QUOTED_MOST]!r}")
    return number


def _number(text: str) -> Decimal:
    """
    Return the number in a text such as `1,234.50`, `1.234,50`, `$12` or `12 EUR`.

    A single comma before three digits separates thousands. A single dot is always a decimal point.
    """
    plain = re.sub(r"[\s']", "", _CURRENCY.sub("", text.strip()).strip())
    marks = re.findall("[.,]", plain)
    is_grouped = len(set(marks)) == 1 and (len(marks) > 1 or bool(re.search(r",\d{3}$", plain)))
    point = -1 if is_grouped else max(plain.rfind("."), plain.rfind(","))
    whole, fraction = (plain, "") if point < 0 else (plain[:point], plain[point + 1 :])
    if not _WHOLE.fullmatch(whole) or not re.fullmatch("[0-9]*", fraction) or not re.search("[0-9]", plain):
        raise ValueError(f"expected a number such as 1,234.50, got {text[:_QUOTED_MOST]!r}")
    if len(plain) > _LENGTH_MOST:
        raise ValueError(f"expected at most {_LENGTH_MOST} characters in a number, got {len(plain)}")
    return Decimal(f"{re.sub('[.,]', '', whole)}.{fraction or 0}".replace("-.", "-0."))
