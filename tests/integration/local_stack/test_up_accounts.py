"""
Tests of `retouch up --accounts N`: each account has a simulator, and the ready line and other commands show the
accounts.
"""

from __future__ import annotations

import json
import signal
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process_watch import Spoken, retouch, run_retouch

IDS = ["sim-5", "sim-10", "sim-15"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("accounts")


@pytest.fixture(scope="module")
def ready(folder: Path) -> Iterator[str]:
    """
    Start a stack with three accounts, yield its ready line, and assert at the end that the output contains no key.
    """
    with run_retouch("up", "--accounts", "3", folder=folder) as running:
        yield running.wait_for("retouch | ready in")
        assert running.end(signal.SIGINT) == 0
        assert no_key_in(folder, running)


def no_key_in(folder: Path, running: Spoken) -> bool:
    """Return whether the output of the stack contains no key of an account."""
    text = "\n".join(running.lines)
    return not any(key in text for key in keys_of(folder))


def keys_of(folder: Path) -> list[str]:
    return [path.read_text().strip() for path in (folder / "var/state/keys").iterdir()]


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "var/state/stack.json").read_text())
    return found


def test_the_ready_line_names_each_account(ready: str, folder: Path) -> None:
    """
    The ready line has the id and the simulator's address for each account. The three simulators allow 5, 10 and 15
    requests in flight.
    """
    accounts = record(folder)["accounts"]
    assert list(accounts) == IDS
    for number, (identity, url) in enumerate(accounts.items(), 1):
        assert f"account {identity} {url} " in ready
        with urllib.request.urlopen(f"{url}/control/settings", timeout=10) as answer:
            assert json.loads(answer.read())["cap"] == 5 * number


def test_keys_are_in_files_of_their_own(ready: str, folder: Path) -> None:
    """The accounts file, stack.json and the ready line contain no key. Each key file can be read by its owner only."""
    state = folder / "var/state"
    text = (state / "accounts.toml").read_text()
    assert list(tomllib.loads(text)["accounts"]) == IDS
    assert {path.stat().st_mode & 0o777 for path in (state / "keys").iterdir()} == {0o600}
    for key in keys_of(folder):
        assert key not in text + (state / "stack.json").read_text() + ready


def test_other_commands_find_the_accounts_file(ready: str, folder: Path) -> None:
    """`settings --export` prints RETOUCH_ACCOUNTS, and `doctor` finds nothing bad in a stack with several accounts."""
    assert "ready" in ready
    lines = retouch("settings", "--export", folder=folder).stdout
    assert f"export RETOUCH_ACCOUNTS={folder.resolve()}/var/state/accounts.toml" in lines.splitlines()
    findings = json.loads(retouch("doctor", "--json", folder=folder).stdout)
    assert [finding for finding in findings if finding["level"] == "bad"] == []


@pytest.mark.parametrize("name", ["RETOUCH_PIX2PIX_KEY", "RETOUCH_ACCOUNTS"])
def test_simulators_do_not_mix_with_real_accounts(tmp_path: Path, name: str) -> None:
    """
    If a real key or a real accounts file is set, `--accounts` is a usage error. No process starts, and no folder is
    created.
    """
    ended = retouch("up", "--accounts", "2", folder=tmp_path, environment={name: "a-real-one"})
    assert ended.returncode == 2
    assert ended.stderr.startswith("retouch: --accounts starts simulators")
    assert list(tmp_path.iterdir()) == []
