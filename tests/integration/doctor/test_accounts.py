"""`retouch doctor --only accounts` finds faults of the accounts file, and accounts that need a hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from retouch_ops.doctor.command import run_checks
from retouch_ops.doctor.findings import Finding, as_lines

FILE = """
[accounts.main]
key_file = "main.key"
[accounts.spare]
key_env = "SPARE_KEY"
"""
KEY = "sk-planted-account-key"


@pytest.fixture
def accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An accounts file with two accounts; no key is there yet."""
    path = tmp_path / "accounts.toml"
    path.write_text(FILE)
    monkeypatch.setenv("RETOUCH_ACCOUNTS", str(path))
    return path


def found() -> list[Finding]:
    """Return the findings about accounts; each that is not good has a reason and a remedy."""
    findings = run_checks(["accounts"])
    assert all(finding.level == "good" or (finding.why and finding.do) for finding in findings)
    return findings


def test_without_a_file_there_is_nothing_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one account that the settings make is looked at by the check of the endpoint."""
    monkeypatch.delenv("RETOUCH_ACCOUNTS", raising=False)
    assert found() == []


def test_each_fault_of_the_file_is_a_finding(accounts: Path) -> None:
    """All faults are found at once, each with its place; a key that was written into the file is not shown."""
    accounts.write_text(f'[accounts.main]\nkey = "{KEY}"\nweight = -1\n')
    assert [(finding.level, finding.what.partition(":")[0]) for finding in found()] == [
        ("bad", "accounts.main.key"),
        ("bad", "accounts.main.weight"),
    ]
    assert KEY not in "\n".join(as_lines(found()))


def test_a_key_that_is_not_here_is_worth_a_note(accounts: Path) -> None:
    """An account whose key this machine cannot read is a note with the reason, since another machine may have it."""
    accounts.with_name("main.key").write_text(KEY)
    good, note = found()[:2]
    assert (good.level, good.what) == ("good", "the file has main, spare")
    assert (note.level, note.what) == ("note", "the key of spare is not here")
    assert "SPARE_KEY is empty" in note.why
