"""Tests of the page that compares a bill with the ledger. The bill is pasted or uploaded, and is not stored."""

from __future__ import annotations

import time
from typing import Any

import pytest

from retouch.store import keys
from retouch_producer.bills.parsing import BYTES_MOST
from tests.integration.console.conftest import People, Person, words_of
from tests.store_accounts import account, open_accounts

TODAY = time.strftime("%Y-%m-%d", time.gmtime())
MARKUP = "<script>alert(1)</script>"


@pytest.fixture
def viewer(people: People, client: Any) -> Person:
    """
    Return a viewer, and fill the ledger of acme for today.

    The endpoint confirmed 10 calls, of which account `spare` made 4. The answers to 3 more calls are unknown.
    """
    day = int(time.time() // 86_400)
    open_accounts(client, account("main", price_per_call=0.01), account("spare", price_per_call=0.02))
    client.sadd(keys.TENANTS, "acme")
    client.hset(keys.ledger("acme"), mapping={f"{day} useful": 8, f"{day} wasted": 2, f"{day} unknown": 3})
    booked = {"main useful": 6, "main unknown": 3, "spare useful": 2, "spare wasted": 2}
    client.hset(keys.ledger_accounts("acme"), mapping={f"{day} {name}": count for name, count in booked.items()})
    return people("staff", "viewer")


def upload(person: Person, content: bytes, **fields: str) -> Any:
    return person.browser.post("/console/bill", files={"file": ("bill.csv", content)}, data=fields)


def test_a_pasted_bill_is_compared(viewer: Person) -> None:
    """For all accounts together, and for one account alone, the page shows the figures of the day and the finding."""
    words = words_of(viewer.post("/console/bill", bill=f"{TODAY}, 12, 0.15").text)
    assert "The bill agrees with the ledger" in words
    assert f"{TODAY} 12 10 to 13 0 0.15 0.14 to 0.17 0 some unknown ones billed" in words
    words = words_of(viewer.post("/console/bill", bill=f"{TODAY}, 12, 0.15", account="spare").text)
    assert "The bill differs from the ledger" in words
    assert f"{TODAY} 12 4 +8 0.15 0.08 +0.07 more than possible" in words
    assert "something else uses the same key" in words


def test_an_uploaded_bill_is_compared_by_account(viewer: Person) -> None:
    """A file with a column of accounts is compared account by account."""
    bill = f"Date;Account;Requests;Cost\n{TODAY};main;6;0,06\n{TODAY};spare;1;0,02\n"
    words = words_of(upload(viewer, b"\xef\xbb\xbf" + bill.encode()).text)
    assert f"{TODAY} main 6 6 to 9 0" in words
    assert f"{TODAY} spare 1 4 -3 0.02 0.08 -0.06 fewer than certain" in words


def test_nothing_is_stored(viewer: Person, client: Any) -> None:
    """A comparison leaves every key in Redis unchanged, apart from the session and the API keys."""

    def contents() -> dict[str, Any]:
        names = [name for name in client.scan_iter("rt:*") if "console_session" not in name]
        return {name: client.dump(name) for name in names if "api_key" not in name}

    before = contents()
    assert viewer.post("/console/bill", bill=f"{TODAY}, 12, 0.15").status_code == 200
    assert contents() == before


@pytest.mark.parametrize(
    ("bill", "fault"),
    [
        ("", "expected one line for each day"),
        (f"{TODAY},7\n{TODAY},{MARKUP}", "Line 2 : expected a number such as 1,234.50"),
        ("date,calls\n2026-02-30,7", "Line 2 : expected a day such as 2026-01-31"),
        ("x" * (BYTES_MOST + 1), "expected at most 65,536 bytes"),
    ],
)
def test_a_wrong_bill_names_the_line(viewer: Person, bill: str, fault: str) -> None:
    """
    If a pasted bill cannot be read, the page names the line and the expected value. Pasted markup is never sent back.
    """
    page = viewer.post("/console/bill", bill=bill).text
    assert "The bill cannot be read; nothing was compared" in page
    assert fault in words_of(page)
    assert MARKUP not in page


def test_a_wrong_upload_is_refused(viewer: Person) -> None:
    """
    The page refuses a malformed form, and a file that is too large, is not text, or comes with a pasted bill.

    The forms of other pages refuse every file.
    """
    assert "Line 1 : expected UTF-8 text" in words_of(upload(viewer, b"\xff\xfe2\x00").text)
    assert "got both" in words_of(upload(viewer, f"{TODAY},7".encode(), bill=f"{TODAY},7").text)
    assert "at most 65,536 bytes" in words_of(upload(viewer, b"x" * (BYTES_MOST + 10)).text)
    assert upload(viewer, b"x" * 300_000).status_code == 413
    broken = viewer.browser.post(
        "/console/bill", content=b"nothing", headers={"Content-Type": "multipart/form-data; boundary=x"}
    )
    assert broken.status_code in (400, 422)
    assert broken.headers["content-type"].startswith("text/html")
    other = viewer.browser.post("/console/jobs/ed_x/cancel", files={"file": ("a", b"b")})
    assert other.status_code == 415


def test_who_compares(people: People, viewer: Person) -> None:
    """
    A viewer finds a link to the form on the page of tenants. A producer gets 403 for the form and for a comparison.
    """
    assert 'href="/console/bill"' in viewer.text("/console/tenants")
    assert 'enctype="multipart/form-data"' in viewer.text("/console/bill")
    producer = people("acme")
    assert producer.get("/console/bill").status_code == 403
    assert producer.post("/console/bill", bill=f"{TODAY},1").status_code == 403
