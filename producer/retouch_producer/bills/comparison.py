"""
Compares the vendor's bill with the ledger by day, in calls and in money. Names the possible causes of a difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from retouch.store.ledger import UsageRow
from retouch_producer.bills.parsing import BillLine

Finding = Literal["agrees", "some_unknown", "more", "fewer", "not_ours", "not_billed", "neighbour", "price"]
WORDS: Mapping[Finding, str] = {
    "agrees": "The bill agrees with the ledger.",
    "some_unknown": "Some calls whose answer never came were billed. The ledger counts them as unknown.",
    "more": "More calls are billed than can have reached the endpoint as paid ones. The vendor may bill calls that it "
    "refused or that failed, or something else uses the same key.",
    "fewer": "Fewer calls are billed than the endpoint confirmed. The vendor may bill late, or not bill some of them.",
    "not_ours": "The ledger has no call of this day. Something else uses the key, or the days of the bill are not UTC.",
    "not_billed": "The ledger has calls of this day and the bill has none. The bill may name another day.",
    "neighbour": "The day before or after differs by about as much the other way. The ledger counts a call on the UTC "
    "day on which its job ended; the vendor counts it when it was sent, perhaps in another time zone.",
    "price": "The calls agree and the money does not: the price of a call is not the one in the settings.",
}
NAMES: Mapping[Finding, str] = {
    "agrees": "agrees",
    "some_unknown": "some unknown ones billed",
    "more": "more than possible",
    "fewer": "fewer than certain",
    "not_ours": "no call of ours",
    "not_billed": "not on the bill",
    "neighbour": "balanced by the next day or the one before",
    "price": "another price",
}
_CENT = Decimal("0.01")
_NEAR = Decimal("0.2")


class Known(NamedTuple):
    """
    Numbers of calls in the ledger, and their price.

    `certain` counts the calls that the endpoint confirmed. `possible` also counts the calls whose answer never came.
    """

    certain: int = 0
    possible: int = 0
    amount_certain: Decimal = Decimal(0)
    amount_possible: Decimal = Decimal(0)

    def plus(self, other: Known) -> Known:
        """Return a new object with the sums of this object and `other`."""
        return Known(
            self.certain + other.certain,
            self.possible + other.possible,
            self.amount_certain + other.amount_certain,
            self.amount_possible + other.amount_possible,
        )


@dataclass(slots=True)
class ComparedDay:
    """
    The numbers of one day on the bill and in the ledger. If `account` is empty, they are the sums of all accounts.

    `calls` and `amount` are the numbers of the bill. Each is None if the bill lacks that column. `known` has the
    numbers of the ledger. `calls_off` and `amount_off` are the differences.
    """

    day: date
    account: str
    calls: int | None
    amount: Decimal | None
    known: Known
    findings: list[Finding] = field(default_factory=list)

    @property
    def calls_off(self) -> int | None:
        """
        The number of calls by which the bill lies outside the range from `known.certain` to `known.possible`.

        The value is negative if the bill is below the range, and 0 if the bill is within the range. It is None if the
        bill has no calls.
        """
        if self.calls is None:
            return None
        return int(_outside(Decimal(self.calls), Decimal(self.known.certain), Decimal(self.known.possible)))

    @property
    def amount_off(self) -> Decimal | None:
        """
        The money by which the bill lies outside the range from `known.amount_certain` to `known.amount_possible`.

        The value is negative if the bill is below the range, and 0 if the bill is within the range. It is None if the
        bill states no amounts, or if no price is set.
        """
        if self.amount is None or (self.known.possible and not self.known.amount_possible):
            return None
        off = _outside(self.amount, self.known.amount_certain, self.known.amount_possible)
        return off if abs(off) >= _CENT else Decimal(0)

    @property
    def off(self) -> Decimal:
        """How far the bill lies outside the ledger's range: in calls, or in money if the bill has no calls."""
        return Decimal(self.calls_off) if self.calls_off is not None else self.amount_off or Decimal(0)

    @property
    def names(self) -> list[str]:
        """A short name for each finding, in the order of `findings`."""
        return [NAMES[finding] for finding in self.findings]

    @property
    def words(self) -> list[str]:
        """An explanation of each finding for people, in the order of `findings`."""
        return [WORDS[finding] for finding in self.findings]


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    The result of a comparison. `first` and `last` are the first and the last day of the bill.

    `days` has the days of that period on which the bill or the ledger has calls. `total` has the sums of these days.
    """

    days: list[ComparedDay]
    total: ComparedDay
    first: date
    last: date

    @property
    def agrees(self) -> bool:
        """Whether the bill is within the range of the ledger, on each day and in the sums."""
        return all(not day.off and not day.amount_off for day in (*self.days, self.total))

    @property
    def findings(self) -> list[Finding]:
        """Each kind of difference once. The kind that occurs on the most days is first."""
        counts: dict[Finding, int] = defaultdict(int)
        for day in self.days:
            for finding in day.findings:
                counts[finding] += finding != "agrees"
        return sorted((one for one in counts if counts[one]), key=lambda one: -counts[one])


def compare_bill(bill: Sequence[BillLine], ledger: Iterable[UsageRow], account: str = "") -> Comparison:
    """
    Compare a bill with rows of `usage(by="day-account")`. Lines of the same day are added up.

    If `account` is set, the whole bill is for that account, and only the rows of that account are used. If `account` is
    empty, each account that the bill names is compared on its own. If the bill names no account, all accounts are
    compared together.
    """
    first, last = min(line.day for line in bill), max(line.day for line in bill)
    by_account = not account and any(line.account for line in bill)
    known: dict[tuple[date, str], Known] = defaultdict(Known)
    for row in ledger:
        day, _, own = row.key.partition(" ")
        if first <= date.fromisoformat(day) <= last and account in ("", own):
            place = date.fromisoformat(day), own if by_account else account
            known[place] = known[place].plus(_known(row))
    days: dict[tuple[date, str], ComparedDay] = {}
    for line in bill:
        place = line.day, line.account if by_account else account
        _add(days.setdefault(place, _empty(place, line, known.get(place, Known()))), line)
    for place in known.keys() - days.keys():
        days[place] = _empty(place, bill[0], known[place])
    compared = [days[place] for place in sorted(days)]
    for one in compared:
        one.findings = _findings(one, days)
    return Comparison(compared, _total(compared, account), first, last)


def _known(row: UsageRow) -> Known:
    certain = row.useful + row.repeated + row.wasted
    possible, amount = certain + row.unknown, Decimal(str(row.amount))
    return Known(certain, possible, amount * certain / possible if possible else Decimal(0), amount)


def _empty(place: tuple[date, str], line: BillLine, known: Known) -> ComparedDay:
    """Return a day to which no billed calls are added yet: `calls` and `amount` are 0, or None if `line` lacks them."""
    calls, amount = (0 if line.calls is not None else None), (Decimal(0) if line.amount is not None else None)
    return ComparedDay(*place, calls, amount, known)


def _add(day: ComparedDay, line: BillLine) -> None:
    day.calls = None if day.calls is None or line.calls is None else day.calls + line.calls
    day.amount = None if day.amount is None or line.amount is None else day.amount + line.amount


def _total(days: Sequence[ComparedDay], account: str) -> ComparedDay:
    known = Known()
    for day in days:
        known = known.plus(day.known)
    calls, amounts = [day.calls for day in days], [day.amount for day in days]
    total = ComparedDay(
        days[0].day,
        account,
        None if None in calls else sum(call for call in calls if call is not None),
        None if None in amounts else sum((one for one in amounts if one is not None), Decimal(0)),
        known,
    )
    total.findings = _findings(total, {})
    return total


def _findings(day: ComparedDay, days: Mapping[tuple[date, str], ComparedDay]) -> list[Finding]:
    if not day.off:
        if day.amount_off and day.calls is not None:
            return ["price"]
        is_between = day.calls is not None and day.known.certain < day.calls
        return ["some_unknown"] if is_between else ["agrees"]
    found: list[Finding] = [_main_finding(day)]
    if any(_balances(day, days.get((day.day + timedelta(step), day.account))) for step in (-1, 1)):
        found.append("neighbour")
    return found


def _main_finding(day: ComparedDay) -> Finding:
    if not day.known.possible:
        return "not_ours"
    if day.calls == 0 or (day.calls is None and not day.amount):
        return "not_billed"
    return "more" if day.off > 0 else "fewer"


def _balances(day: ComparedDay, other: ComparedDay | None) -> bool:
    """
    Return whether one day is above the ledger and the other is below it, by numbers that are at most a fifth apart.
    """
    if other is None or day.off * other.off >= 0:
        return False
    return abs(day.off + other.off) <= _NEAR * max(abs(day.off), abs(other.off))


def _outside(value: Decimal, least: Decimal, most: Decimal) -> Decimal:
    """
    Return how far a value lies above `most`. Below `least`, return the distance as a negative number. In between,
    return 0.
    """
    return value - most if value > most else value - least if value < least else Decimal(0)


def comparison_document(comparison: Comparison) -> dict[str, object]:
    """Return a comparison as a JSON object. Amounts are numbers with up to six digits after the point."""
    return {
        "first": str(comparison.first),
        "last": str(comparison.last),
        "agrees": comparison.agrees,
        "total": _day_document(comparison.total),
        "days": [{"day": str(day.day), **_day_document(day)} for day in comparison.days],
        "meanings": {finding: WORDS[finding] for finding in comparison.findings},
    }


def _day_document(day: ComparedDay) -> dict[str, object]:
    return {
        "account": day.account or None,
        "billed_calls": day.calls,
        "certain_calls": day.known.certain,
        "possible_calls": day.known.possible,
        "calls_off": day.calls_off,
        "billed_amount": _money(day.amount),
        "certain_amount": _money(day.known.amount_certain),
        "possible_amount": _money(day.known.amount_possible),
        "amount_off": _money(day.amount_off),
        "findings": day.findings,
    }


def _money(amount: Decimal | None) -> float | None:
    return None if amount is None else round(float(amount), 6)
