"""`retouch usage --compare-bill` compares a bill, from a file or from standard input, with the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retouch.store import keys
from tests.command_line import typed
from tests.gateway_process import Callers
from tests.store_accounts import account, open_accounts

TODAY = time.strftime("%Y-%m-%d", time.gmtime())


@pytest.fixture(autouse=True)
def store(client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fill the ledger with calls of today: 9 at account `main`, of which 2 are unknown, and 3 at account `spare`."""
    monkeypatch.setenv("RETOUCH_REDIS_URL", redis_url)
    day = int(time.time() // 86_400)
    open_accounts(client, account("main", price_per_call=0.5), account("spare", price_per_call=0.5))
    client.sadd(keys.TENANTS, "acme")
    client.hset(keys.ledger("acme"), mapping={f"{day} useful": 10, f"{day} unknown": 2})
    booked = {"main useful": 7, "main unknown": 2, "spare useful": 3}
    client.hset(keys.ledger_accounts("acme"), mapping={f"{day} {name}": count for name, count in booked.items()})
    yield
    client.flushdb()


def test_a_bill_in_a_file(tmp_path: Path) -> None:
    """
    The command prints a table and explains its finding. It exits with 0, even if the bill differs from the ledger.
    """
    bill = tmp_path / "bill.csv"
    bill.write_text(f"date,calls,amount\n{TODAY},15,7.50\n")
    ended = typed("usage", "--compare-bill", bill)
    assert ended.code == 0, ended.err
    table = [line.split("  ") for line in ended.out.splitlines()]
    assert [cell.strip() for cell in table[1] if cell.strip()] == [
        *(TODAY, "-", "15", "10", "12", "+3", "7.50", "6.00", "+1.50", "more than possible")
    ]
    assert "the bill differs from the ledger" in ended.out
    assert "- more than possible: More calls are billed" in ended.out
    bill.write_text(f"{TODAY},3,1.50\n")
    assert "the bill agrees with the ledger" in typed("usage", "--compare-bill", bill, "--account", "spare").out


def test_json_of_a_bill_from_standard_input() -> None:
    """With `-` the bill is read from standard input. The JSON has sums, days, ranges and findings."""
    document = typed("usage", "--compare-bill", "-", "--json", given=f"{TODAY} 11 5.50").json
    assert (document["agrees"], document["first"], document["last"], document["meanings"].keys()) == (
        *(True, TODAY, TODAY),
        {"some_unknown"},
    )
    [day] = document["days"]
    assert (day["billed_calls"], day["certain_calls"], day["possible_calls"], day["calls_off"]) == (11, 10, 12, 0)
    assert (day["billed_amount"], day["certain_amount"], day["possible_amount"]) == (5.5, 5.0, 6.0)


def test_through_a_gateway(gateway_url: str, callers: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a gateway, a caller with a key of role ops gets the same comparison as over Redis."""
    monkeypatch.setenv("RETOUCH_GATEWAY_URL", gateway_url)
    monkeypatch.setenv("RETOUCH_API_KEY", callers("staff", "ops").secret)
    [day] = typed("usage", "--compare-bill", "-", "--account", "main", "--json", given=f"{TODAY} 9").json["days"]
    assert (day["account"], day["certain_calls"], day["possible_calls"], day["findings"]) == (
        *("main", 7, 9),
        ["some_unknown"],
    )


@pytest.mark.parametrize(
    ("arguments", "given", "fault"),
    [
        (["--compare-bill", "-"], f"{TODAY},7\n{TODAY},x\n", "line 2: expected a number such as 1,234.50, got 'x'"),
        (["--compare-bill", "/nowhere/bill.csv"], "", "No such file or directory"),
        (["--compare-bill", "-", "--tenant", "acme"], "", "--tenant cannot be used with it"),
        (["--compare-bill", "-", "--by", "day", "--since", "1d"], "", "--by, --since cannot be used with it"),
        (["--account", "main"], "", "it goes with --compare-bill alone"),
    ],
)
def test_wrong_use(arguments: list[str], given: str, fault: str) -> None:
    """If the bill or the options are wrong, the command exits with 2 and names the fault."""
    ended = typed("usage", *arguments, given=given)
    assert ended.code == 2
    assert fault in " ".join(ended.err.split())
