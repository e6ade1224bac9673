"""Compares the vendor's bill with the ledger, and prints the differences."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from retouch_producer.bills.comparison import NAMES, WORDS, ComparedDay, Comparison, compare_bill, comparison_document
from retouch_producer.bills.parsing import BYTES_MOST, InvalidBill, decode_bill, parse_bill
from retouch_producer.cli.context import open_context
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.render import print_table

_HEAD = ("DAY", "ACCOUNT", "BILLED", "CERTAIN", "POSSIBLE", "OFF", "MONEY", "AT MOST", "OFF", "FINDING")


def compare_with_bill(file: str, account: str | None, *, as_json: bool) -> None:
    """
    Compare a bill with the ledger, and print the comparison. `file` is `-` for standard input.

    Raise `UsageError` if the bill cannot be read.
    """
    try:
        lines = parse_bill(decode_bill(_read(file)))
    except InvalidBill as error:
        faults = "".join(f"\n  {fault}" for fault in error.faults)
        raise UsageError(f"{file[:200]}: the bill cannot be read, nothing was compared{faults}") from None
    with open_context() as context:
        rows = context.usage(None, min(line.day for line in lines), "day-account")
    comparison = compare_bill(lines, rows, account or "")
    if as_json:
        print(json.dumps(comparison_document(comparison), indent=2))
        return
    print_table(_HEAD, _rows(comparison), "")
    print("the bill agrees with the ledger" if comparison.agrees else "the bill differs from the ledger")
    for finding in comparison.findings:
        print(f"- {NAMES[finding]}: {WORDS[finding]}")


def _read(file: str) -> bytes:
    """Return the bytes of a file, or of standard input for `-`. Read at most one byte more than a bill may have."""
    if file == "-":
        return sys.stdin.read(BYTES_MOST + 1).encode(errors="surrogateescape")
    try:
        with Path(file).open("rb") as opened:
            return opened.read(BYTES_MOST + 1)
    except OSError as error:
        raise UsageError(f"--compare-bill: {file[:200]}: {error.strerror}") from None


def _rows(comparison: Comparison) -> Sequence[Sequence[object]]:
    days = [_row(str(day.day), day) for day in comparison.days]
    return [*days, _row("total", comparison.total)]


def _row(name: str, day: ComparedDay) -> Sequence[object]:
    known = day.known
    return (
        *(name, day.account or "-", "-" if day.calls is None else day.calls, known.certain, known.possible),
        *(_off(day.calls_off), _money(day.amount), _money(known.amount_possible), _off(day.amount_off)),
        ", ".join(day.names),
    )


def _money(amount: Decimal | None) -> str:
    return "-" if amount is None else f"{amount:.2f}"


def _off(number: int | Decimal | None) -> str:
    if not number:
        return "-"
    return f"{number:+d}" if isinstance(number, int) else f"{number:+.2f}"
