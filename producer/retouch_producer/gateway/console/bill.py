"""The page that compares the vendor's bill with the ledger. The bill is pasted or uploaded; it is not stored."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, File, Form, Request, Response, UploadFile

from retouch.accounts import DEFAULT_ACCOUNT
from retouch.store.accounts import AccountStore
from retouch.store.redis_client import clear_errors
from retouch_producer.bills.comparison import NAMES, WORDS, ComparedDay, Comparison, compare_bill
from retouch_producer.bills.parsing import (
    BYTES_MOST,
    ROWS_MOST,
    BillFault,
    BillLine,
    InvalidBill,
    decode_bill,
    parse_bill,
)
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import ConsoleRoute, console_router
from retouch_producer.gateway.console.visitors import Acting, SignedIn, Visitor
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.errors import ProblemError

DAYS_SHOWN_MOST = 400


class BillRoute(ConsoleRoute):
    """
    A route whose form may have a bill, as pasted text or as a file.

    The form may be three times as long as a bill, since one byte of pasted text may take three bytes in a form.
    """

    form_most = 3 * BYTES_MOST + 16 * 1024
    form_types = ("application/x-www-form-urlencoded", "multipart/form-data")


router = console_router(BillRoute)


@router.get("/bill")
def show_form(request: Request, visitor: SignedIn, dependencies: Injected) -> Response:
    """Show the form for a bill."""
    if not visitor.sees_all:
        raise ProblemError("forbidden", "bills are compared by keys of role viewer or ops")
    return _page(request, visitor, dependencies)


@router.post("/bill")
def compare(
    request: Request,
    visitor: Annotated[Visitor, Depends(Acting("compare_bill"))],
    dependencies: Injected,
    bill: Annotated[str, Form()] = "",
    account: Annotated[str, Form()] = "",
    file: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """
    Compare a bill with the ledger and show the result.

    If the bill cannot be read, show its faults with the numbers of their lines.
    """
    uploaded = file.file.read(BYTES_MOST + 1) if file else b""
    try:
        lines = _lines(bill, uploaded)
    except InvalidBill as error:
        return _page(request, visitor, dependencies, bill=bill, account=account, faults=error.faults)
    first, last = min(line.day for line in lines), max(line.day for line in lines)
    price = dependencies.settings.price_per_call
    with clear_errors():
        rows = dependencies.ledger.usage(since=first, until=last, by="day-account", price_per_call=price)
    return _page(
        request, visitor, dependencies, bill=bill, account=account, comparison=compare_bill(lines, rows, account)
    )


def _lines(pasted: str, uploaded: bytes) -> list[BillLine]:
    if pasted.strip() and uploaded:
        raise InvalidBill([BillFault(0, "expected a pasted bill or a file, got both")])
    return parse_bill(decode_bill(uploaded) if uploaded else pasted)


def _page(
    request: Request,
    visitor: Visitor,
    dependencies: Dependencies,
    *,
    bill: str = "",
    account: str = "",
    faults: list[BillFault] | None = None,
    comparison: Comparison | None = None,
) -> Response:
    with clear_errors():
        accounts = AccountStore(dependencies.client).ids()
    return page(
        request,
        "bill.html",
        visitor,
        bill=bill[:BYTES_MOST],
        account=account,
        accounts=accounts or (DEFAULT_ACCOUNT,),
        faults=faults or [],
        comparison=comparison,
        days=_shown(comparison.days) if comparison else [],
        names=NAMES,
        words=WORDS,
        bytes_most=BYTES_MOST,
        rows_most=ROWS_MOST,
    )


def _shown(days: list[ComparedDay]) -> list[ComparedDay]:
    """Return all days. If there are more than 400, return the first 400 days that differ from the ledger."""
    return (
        days if len(days) <= DAYS_SHOWN_MOST else [day for day in days if day.findings != ["agrees"]][:DAYS_SHOWN_MOST]
    )
