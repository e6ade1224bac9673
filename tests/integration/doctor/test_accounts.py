"""`retouch doctor --only accounts` finds faults of the accounts file, and accounts that get no jobs."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from retouch.store import keys
from retouch.store.accounts import AccountStore
from retouch.store.ledger import day_of
from retouch_ops.doctor.command import run_checks
from retouch_producer.findings import Finding, as_lines
from tests.lane_kit import LaneKit
from tests.store_accounts import account, close, open_accounts

FILE = """
[accounts.main]
key_file = "main.key"
[accounts.spare]
key_env = "SPARE_KEY"
"""
KEY = "sk-planted-account-key"


@pytest.fixture
def accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of an accounts file with two accounts, whose keys this machine does not have."""
    path = tmp_path / "accounts.toml"
    path.write_text(FILE)
    monkeypatch.setenv("RETOUCH_ACCOUNTS", str(path))
    return path


def found() -> list[Finding]:
    """Return the findings about accounts. Fail the test if a note or a bad finding has no reason or no remedy."""
    findings = run_checks(["accounts"])
    assert all(finding.level == "good" or (finding.why and finding.do) for finding in findings)
    return findings


def test_without_a_file_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an accounts file there is no finding: the check of the endpoint covers the only account."""
    monkeypatch.delenv("RETOUCH_ACCOUNTS", raising=False)
    assert found() == []


def test_each_fault_of_the_file_is_a_finding(accounts: Path) -> None:
    """All faults of the file are found at once, each with its field. A key that stands in the file is not shown."""
    accounts.write_text(f'[accounts.main]\nkey = "{KEY}"\nweight = -1\n')
    assert [(finding.level, finding.what.partition(":")[0]) for finding in found()] == [
        ("bad", "accounts.main.key"),
        ("bad", "accounts.main.weight"),
    ]
    assert KEY not in "\n".join(as_lines(found()))


def test_a_key_that_is_not_here_is_worth_a_note(accounts: Path) -> None:
    """A key that this machine cannot read is a note with the reason, since another machine may have the key."""
    accounts.with_name("main.key").write_text(KEY)
    good, note = found()[:2]
    assert (good.level, good.what) == ("good", "the file has main, spare")
    assert (note.level, note.what) == ("note", "the key of spare is not here")
    assert "SPARE_KEY is empty" in note.why


def test_accounts_that_need_a_hand(client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A closed account and an account without a worker are bad findings. A draining account, an open breaker and a used-up
    number of calls per day are notes.
    """
    monkeypatch.delenv("RETOUCH_ACCOUNTS", raising=False)
    monkeypatch.setenv("RETOUCH_REDIS_URL", redis_url)
    names = ("fine", "shut", "idle", "busy", "down", "spent")
    open_accounts(client, *(account(name, calls_per_day=int(name == "spent")) for name in names))
    assert found() == []
    kit = LaneKit(client)
    kit.enqueue(*(kit.new() for _ in range(6)))
    for name in ("idle", "busy"):
        AccountStore(client).drain(name)
    client.hset(keys.HELD_BY_ACCOUNT, "idle", 0)
    close(client, "shut")
    client.hset(keys.account_gate("down"), "open_until", time.time() + 100)
    client.hset(keys.account_calls(day_of(time.time())), "spent", 1)
    client.hset(keys.account_gate("fine"), "served_until", 1)
    assert [(finding.level, re.sub("[0-9]+", "N", finding.what)) for finding in found()] == [
        ("bad", "no living worker serves fine"),
        ("bad", "shut is closed: bad_key"),
        ("note", "idle has drained"),
        ("note", "busy drains and holds N slots"),
        ("note", "the breaker of down is open for another N s"),
        ("note", "the calls of today of spent are spent"),
    ]
    AccountStore(client).pause("idle")
    assert "idle is paused by hand" in [finding.what for finding in found()]
    client.flushdb()
