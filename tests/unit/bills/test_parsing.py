"""Reading a vendor's bill: the accepted forms, and the errors with their line numbers."""

from __future__ import annotations

from contextlib import suppress
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retouch_producer.bills.parsing import BYTES_MOST, ROWS_MOST, BillLine, InvalidBill, decode_bill, parse_bill

DAY = date(2026, 1, 31)


def one(text: str) -> tuple[date, int | None, Decimal | None, str]:
    (line,) = parse_bill(text)
    return line.day, line.calls, line.amount, line.account


@pytest.mark.parametrize(
    ("text", "calls", "amount"),
    [
        ("2026-01-31,1200,12.00", 1200, "12"),
        ("2026-01-31\t1200\t12.00", 1200, "12"),
        ("2026-01-31 1200 12.00", 1200, "12"),
        ("31.01.2026;1.200,00;12,50", 1200, "12.5"),
        ('2026/1/31,"1,200","$1,234.50"', 1200, "1234.5"),
        ("2026-01-31T00:00:00Z,7,0.07 USD", 7, "0.07"),
        ("2026-01-31,7", 7, None),
        ("2026-01-31,0.07", None, "0.07"),
        ("2026-01-31,$7", None, "7"),
        ("2026-01-31,7,-1.5", 7, "-1.5"),
        ("2026-01-31,7,-.5", 7, "-0.5"),
        ("Date,Cost (USD),Requests\n2026-01-31,3.00,300\nTotal,3.00,300\n", 300, "3"),
        ("\ufeffday;calls\n\n# a note\n31.01.2026;5", 5, None),
        ("Usage date,Price per call,API calls,Total amount\n2026-01-31,0.01,100,1.00", 100, "1"),
    ],
)
def test_bills_of_many_forms_are_read(text: str, calls: int | None, amount: str | None) -> None:
    """A bill is read with any usual separator, date and decimal sign, with or without a heading."""
    assert one(text) == (DAY, calls, None if amount is None else Decimal(amount), "")


def test_accounts_and_numbers_of_lines_are_kept() -> None:
    """The column of accounts is read, and `line` of each result is its line number in the text."""
    lines = parse_bill("date,account,calls\n\n2026-01-30,main,3\n2026-01-31,spare,4\n")
    assert [(line.line, line.account, line.calls) for line in lines] == [(3, "main", 3), (4, "spare", 4)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "expected one line for each day: date, calls, amount; got none"),
        ("date,calls\n", "expected one line for each day below the heading, got none"),
        ("2026-01-31,7\n2026-02-30,7", "line 2: expected a day such as 2026-01-31 or 31.01.2026, got '2026-02-30'"),
        ("2026-01-31,7,0.07\n02/01/2026,7,0.07", "line 2: expected a day such as"),
        ("2026-01-31,7.5,0.07", "line 1: expected a whole number of calls, got '7.5'"),
        ("2026-01-31,-7,0.07", "line 1: expected a whole number of calls, got '-7'"),
        ("2026-01-31,7,a lot", "line 1: expected a number such as 1,234.50, got 'a lot'"),
        ("2026-01-31,7,1.2.3,4", "line 1: expected a number such as 1,234.50, got '1.2.3'"),
        ("2026-01-31,7,٧", "line 1: expected a number"),
        ("2026-01-31,7,0.07\n2026-02-01,7", "line 2: expected 3 columns, got 2"),
        ("name,calls\nx,7", "line 1: expected a heading with date and calls or amount"),
        ("date,region\n2026-01-31,eu", "line 1: expected a heading with date and calls or amount"),
        (f"2026-01-31,{'9' * 30},1", "line 1: expected at most 20 characters in a number, got 30"),
        ("2026-01-31,1\n" * (ROWS_MOST + 1), f"line {ROWS_MOST + 1}: expected at most 2,000 lines"),
        ("x" * (BYTES_MOST + 1), "expected at most 65,536 bytes, got 65,537"),
    ],
)
def test_a_fault_names_its_line(text: str, fault: str) -> None:
    """A text that cannot be read raises InvalidBill with the line, the expected form and the text that is there."""
    with pytest.raises(InvalidBill) as raised:
        parse_bill(text)
    assert fault in str(raised.value)


def test_all_faults_are_named_at_once() -> None:
    """InvalidBill has a fault for each wrong line, up to twenty."""
    with pytest.raises(InvalidBill) as raised:
        parse_bill("date,calls\n" + "2026-01-31,x\n" * 30)
    assert [fault.line for fault in raised.value.faults] == list(range(2, 22))


def test_bytes_that_are_no_text_are_refused() -> None:
    """Bytes that are not UTF-8 are refused with their line. Too many bytes are refused before they are decoded."""
    assert decode_bill(b"\xef\xbb\xbf2026-01-31,7") == "2026-01-31,7"
    with pytest.raises(InvalidBill, match="line 2: expected UTF-8"):
        decode_bill(b"2026-01-31,7\n\xff\xfe")
    with pytest.raises(InvalidBill, match="at most 65,536 bytes"):
        decode_bill(b"\xff" * (BYTES_MOST + 1))


@given(st.text(max_size=300))
def test_no_text_does_anything_else(text: str) -> None:
    """`parse_bill` reads any text or raises InvalidBill, and nothing else."""
    lines = list[BillLine]()
    with suppress(InvalidBill):
        lines = parse_bill(text)
    assert all(line.calls is not None or line.amount is not None for line in lines)


ROWS = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 10**6), st.decimals(0, 10**6, places=2)), min_size=1, max_size=50
)


@given(ROWS, st.sampled_from([",", ";", "\t", " "]), st.booleans())
def test_what_is_written_is_read(rows: list[tuple[int, int, Decimal]], mark: str, heading: bool) -> None:
    """For each separator, with or without a heading, `parse_bill` returns the days, calls and amounts of the bill."""
    wanted = [(DAY + timedelta(days), calls, amount) for days, calls, amount in rows]
    lines = [mark.join(map(str, row)) for row in wanted]
    text = "\n".join([mark.join(("day", "calls", "amount")), *lines] if heading else lines)
    assert [(line.day, line.calls, line.amount) for line in parse_bill(text)] == wanted
