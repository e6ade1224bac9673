"""The comparison of a bill with the ledger: ranges, differences, sums, and the likely cause of each difference."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from retouch.store.ledger import UsageRow
from retouch_producer.bills.comparison import WORDS, ComparedDay, compare_bill
from retouch_producer.bills.parsing import BillLine, parse_bill

FIRST = date(2026, 1, 1)
PRICE = 0.01


def row(day: date, useful: int, unknown: int = 0, account: str = "default", price: float = PRICE) -> UsageRow:
    return UsageRow(f"{day} {account}", useful, 0, 0, unknown, 0, round((useful + unknown) * price, 6))


def compared(text: str, *rows: UsageRow, account: str = "") -> list[ComparedDay]:
    return compare_bill(parse_bill(text), rows, account).days


def test_a_bill_within_what_is_known_agrees() -> None:
    """
    A bill agrees if it has at least the certain and at most the possible calls of the ledger. If it has more than the
    certain calls, the finding is `some_unknown`.
    """
    rows = (row(FIRST, 10, 3), row(FIRST + timedelta(1), 10, 3))
    comparison = compare_bill(parse_bill("2026-01-01,10,0.10\n2026-01-02,12,0.12"), rows)
    assert [day.findings for day in comparison.days] == [["agrees"], ["some_unknown"]]
    assert comparison.agrees
    assert (comparison.total.calls, comparison.total.known.certain, comparison.total.known.possible) == (22, 20, 26)
    assert comparison.total.amount == Decimal("0.22")


def test_differences_are_counted_from_the_range() -> None:
    """
    `calls_off` is the number of calls above the possible calls, or (negative) below the certain calls. `amount_off` is
    the same difference in money.
    """
    more, fewer = compared("2026-01-01,15,0.15\n2026-01-02,2,0.02", row(FIRST, 10, 3), row(FIRST + timedelta(1), 10, 3))
    assert (more.calls_off, more.amount_off, more.findings) == (2, Decimal("0.02"), ["more"])
    assert (fewer.calls_off, fewer.amount_off, fewer.findings) == (-8, Decimal("-0.08"), ["fewer"])


def test_days_of_one_side_alone() -> None:
    """A day that is only in the bill is `not_ours`. A day that is only in the ledger is `not_billed`."""
    days = compared(
        "2026-01-01,4,0.04\n2026-01-03,10,0.10", row(FIRST + timedelta(1), 7), row(FIRST + timedelta(2), 10)
    )
    assert [(day.day.day, day.calls, day.findings[0]) for day in days] == [
        (1, 4, "not_ours"),
        (2, 0, "not_billed"),
        (3, 10, "agrees"),
    ]


def test_what_moved_over_midnight_is_recognised() -> None:
    """
    If one day has some calls too many, and the next day the same number too few, both days have the finding
    `neighbour`. The text of this finding names UTC.
    """
    days = compared("2026-01-01,15\n2026-01-02,5", row(FIRST, 10), row(FIRST + timedelta(1), 10))
    assert [day.findings for day in days] == [["more", "neighbour"], ["fewer", "neighbour"]]
    assert "UTC" in days[0].words[1]


def test_another_price_is_recognised() -> None:
    """If the calls agree and the amount does not, the finding is `price`. Without a price no amounts are compared."""
    (dear,) = compared("2026-01-01,10,0.20", row(FIRST, 10))
    assert (dear.calls_off, dear.amount_off, dear.findings) == (0, Decimal("0.10"), ["price"])
    (unpriced,) = compared("2026-01-01,10,0.20", row(FIRST, 10, price=0.0))
    assert (unpriced.amount_off, unpriced.findings) == (None, ["agrees"])


def test_accounts_are_apart_where_the_bill_names_them() -> None:
    """
    If the bill has a column of accounts, each account is compared on its own. Otherwise the bill is compared with all
    accounts together, or with the account that the caller names.
    """
    rows = (row(FIRST, 10, account="main"), row(FIRST, 5, account="spare"))
    days = compared("date,account,calls\n2026-01-01,main,10\n2026-01-01,other,2", *rows)
    assert [(day.account, day.findings) for day in days] == [
        ("main", ["agrees"]),
        ("other", ["not_ours"]),
        ("spare", ["not_billed"]),
    ]
    assert [day.findings for day in compared("2026-01-01,15", *rows)] == [["agrees"]]
    assert [day.findings for day in compared("2026-01-01,5", *rows, account="spare")] == [["agrees"]]


def test_lines_of_one_day_are_added_up() -> None:
    """The lines of one day are added up before the comparison. `words` has the text of the finding `agrees`."""
    (day,) = compared("2026-01-01,4,0.04\n2026-01-01,6,0.06", row(FIRST, 10))
    assert (day.calls, day.amount, day.findings) == (10, Decimal("0.10"), ["agrees"])
    assert day.words == [WORDS["agrees"]]


COUNTS = st.integers(0, 1_000)
BILLS = st.lists(st.tuples(st.integers(0, 20), COUNTS), min_size=1, max_size=30)
LEDGERS = st.dictionaries(st.integers(0, 20), st.tuples(COUNTS, COUNTS), max_size=20)


def lines_of(bill: list[tuple[int, int]]) -> list[BillLine]:
    return [
        BillLine(place, FIRST + timedelta(days), calls, Decimal(calls) / 100)
        for place, (days, calls) in enumerate(bill)
    ]


@given(BILLS, LEDGERS)
def test_nothing_is_lost(bill: list[tuple[int, int]], ledger: dict[int, tuple[int, int]]) -> None:
    """
    The totals are the sums of bill and ledger from the first to the last day of the bill; each day appears once, in
    order.
    """
    rows = [row(FIRST + timedelta(days), *counts) for days, counts in ledger.items()]
    comparison = compare_bill(lines_of(bill), rows)
    first, last = min(days for days, _ in bill), max(days for days, _ in bill)
    shown = {days: counts for days, counts in ledger.items() if first <= days <= last}
    assert comparison.total.calls == sum(calls for _, calls in bill)
    assert comparison.total.known.certain == sum(useful for useful, _ in shown.values())
    assert comparison.total.known.possible == sum(useful + unknown for useful, unknown in shown.values())
    days = [day.day for day in comparison.days]
    assert days == sorted(set(days))
    assert set(days) == {FIRST + timedelta(place) for place in {days for days, _ in bill} | set(shown)}


@given(LEDGERS.filter(bool), st.data())
def test_a_true_bill_always_agrees(ledger: dict[int, tuple[int, int]], data: st.DataObject) -> None:
    """A bill with all certain calls and some of the unknown calls agrees on each day, in calls and in money."""
    rows = [row(FIRST + timedelta(days), *counts) for days, counts in ledger.items()]
    bill = [(days, useful + data.draw(st.integers(0, unknown))) for days, (useful, unknown) in ledger.items()]
    comparison = compare_bill(lines_of(bill), rows)
    assert comparison.agrees
    assert comparison.findings in ([], ["some_unknown"])


@given(BILLS, LEDGERS)
def test_a_difference_has_the_sign_of_its_finding(
    bill: list[tuple[int, int]], ledger: dict[int, tuple[int, int]]
) -> None:
    """
    `calls_off` is 0 exactly if the bill has at least the certain and at most the possible calls. `off` is positive for
    `more` and `not_ours`, and negative for `fewer` and `not_billed`.
    """
    rows = [row(FIRST + timedelta(days), *counts) for days, counts in ledger.items()]
    for day in compare_bill(lines_of(bill), rows).days:
        assert day.calls is not None
        assert (day.calls_off == 0) == (day.known.certain <= day.calls <= day.known.possible)
        assert (day.calls_off == 0) == (day.findings[0] in ("agrees", "some_unknown"))
        assert (day.off > 0) == (day.findings[0] in ("more", "not_ours"))
        assert (day.off < 0) == (day.findings[0] in ("fewer", "not_billed"))
