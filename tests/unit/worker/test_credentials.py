"""The keys of a worker process are read, reloaded and never shown."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from retouch.errors import SettingsError
from retouch.settings import Settings
from retouch_worker.edits.credentials import Credentials

OLD, NEW, OTHER = "sk-planted-old-key", "sk-planted-new-key", "sk-planted-other-key"

Logged = list[MutableMapping[str, Any]]


@pytest.fixture
def logged() -> Iterator[Logged]:
    with capture_logs() as lines:
        yield lines


class Folder:
    """
    A folder with an accounts file and key files. Each write gives a file another modification time, so that a reload
    notices the change.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._writes = path, 0

    def write(self, name: str, content: str | bytes) -> None:
        """
        Replace a file by a new one, with another inode and modification time, as the system replaces a mounted secret.
        """
        self._writes += 1
        draft = self.path / f"{name}.draft"
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(draft, ns=(self._writes, self._writes))
        draft.replace(self.path / name)

    def accounts(self, *names: str, **fields: str) -> None:
        """
        Write the accounts file, with a key file for each account of `names`.

        A keyword argument is the name of an account. Its value is added to the TOML table of this account.
        """
        tables = [f'[accounts.{name}]\nkey_file = "{name}.key"\n{fields.get(name, "")}\n' for name in names]
        self.write("accounts.toml", "\n".join(tables))

    def credentials(self, settings_key: str = "") -> Credentials:
        return Credentials(Settings.load(accounts=str(self.path / "accounts.toml"), pix2pix_key=settings_key))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.accounts("a", "b")
    made.write("a.key", f"{OLD}\n")
    return made


def test_without_a_file_the_settings_have_the_key(logged: Logged) -> None:
    """
    Without an accounts file, only `default` is held, with the key of the settings or without a key. There is nothing to
    reload.
    """
    credentials = Credentials(Settings.load(pix2pix_key=OLD))
    assert dict(credentials.now.keys) == {"default": OLD}
    assert credentials.now.queues == ("edits",)
    assert not credentials.reload_if_changed()
    assert logged == []
    credentials.ask_reload()
    assert not credentials.reload_if_changed()
    assert [line["event"] for line in logged] == ["accounts_not_reloaded"]
    bare = Credentials(Settings.load())
    bare.require_one()
    assert bare.now.held


def test_keys_come_from_files_and_variables(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of an account is the text of its key file or variable, without blanks around it."""
    monkeypatch.setenv("OTHER_KEY", f" {OTHER} ")
    folder.write("accounts.toml", '[accounts.a]\nkey_file = "a.key"\n[accounts.b]\nkey_env = "OTHER_KEY"\n')
    holdings = folder.credentials().now
    assert dict(holdings.keys) == {"a": OLD, "b": OTHER}
    assert holdings.queues == ("edits.a", "edits.b")


def test_the_account_default_has_the_queue_of_always(folder: Folder) -> None:
    """In an accounts file too, the account `default` has the queue `edits`."""
    folder.accounts("a", "default")
    folder.write("default.key", OTHER)
    assert folder.credentials().now.queues == ("edits.a", "edits")


def test_jobs_of_the_settings_key_end_with_it(folder: Folder) -> None:
    """
    If the accounts file does not name `default` and the settings have a key, `default` is claimable but not served.
    """
    credentials = folder.credentials("sk-of-the-settings")
    assert list(credentials.now.served) == ["a"]
    assert list(credentials.now.claimable) == ["a", "default"]
    assert credentials.now.queues == ("edits.a", "edits")
    folder.accounts("a", "default")
    folder.write("default.key", OTHER)
    assert credentials.reload_if_changed()
    assert list(credentials.now.served) == list(credentials.now.claimable) == ["a", "default"]
    assert credentials.now.keys["default"] == OTHER


def test_jobs_of_a_removed_account_end_with_its_key(folder: Folder) -> None:
    """A removed account is no longer served. Its key is kept, since its jobs can still be claimed."""
    folder.write("b.key", OTHER)
    credentials = folder.credentials()
    folder.accounts("a")
    assert credentials.reload_if_changed()
    assert (credentials.now.served, credentials.now.claimable) == (("a",), ("a", "b"))
    assert credentials.now.keys["b"] == OTHER
    folder.accounts("a", "b")
    assert credentials.reload_if_changed()
    assert credentials.now.leaving == ()


def test_the_settings_key_alone_is_no_key_of_the_file(folder: Folder) -> None:
    """
    If no key of the accounts file can be read, `require_one` raises SettingsError, even if the settings have a key.
    """
    (folder.path / "a.key").unlink()
    with pytest.raises(SettingsError):
        folder.credentials("sk-of-the-settings").require_one()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("", "is empty"),
        (" \n", "is empty"),
        (f"{OTHER}\nsecond line\n", "expected one line of text"),
        (b"\xff\xfe", "expected one line of text"),
        ("short", "expected 8 characters or more"),
    ],
)
def test_a_key_that_cannot_be_read_is_lacking(folder: Folder, content: str | bytes | None, reason: str) -> None:
    """
    An account whose key cannot be read is not held, and the reason does not contain the key. The other account is held.
    """
    if content is not None:
        folder.write("b.key", content)
    credentials = folder.credentials()
    credentials.require_one()
    assert [account.id for account in credentials.now.held] == ["a"]
    assert credentials.now.queues == ("edits.a",)
    assert credentials.now.lacking["b"].endswith(reason)
    assert OTHER not in credentials.now.lacking["b"]


def test_a_process_without_any_key_knows_why(folder: Folder) -> None:
    """If no key can be read, the error of `require_one` has each account with its reason."""
    (folder.path / "a.key").unlink()
    credentials = folder.credentials()
    with pytest.raises(SettingsError) as caught:
        credentials.require_one()
    assert caught.value.faults == [
        f"accounts.{name}: no key, {folder.path / f'{name}.key'} cannot be read (No such file or directory)"
        for name in "ab"
    ]


def test_no_key_is_shown(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `repr` and the attributes of `Credentials` show no current or former key."""
    credentials = folder.credentials()
    folder.write("a.key", NEW)
    assert credentials.reload_if_changed()
    assert set(credentials.now.secrets) == {OLD, NEW}
    shown = f"{credentials!r} {credentials.now!r} {credentials} {vars(credentials)}"
    assert "sk-" not in shown


def test_nothing_is_read_while_nothing_changed(folder: Folder, logged: Logged) -> None:
    """
    If no file has changed, a check keeps the `Holdings`. A file that was written again with the same text is read but
    not logged.
    """
    credentials = folder.credentials()
    before = credentials.now
    assert not credentials.reload_if_changed()
    assert credentials.now is before
    folder.accounts("a", "b")  # the same text, written again
    assert credentials.reload_if_changed()
    assert logged == []


def test_a_changed_key_is_taken(folder: Folder, logged: Logged) -> None:
    """
    After a key file is replaced, the next check makes a new `Holdings` with the new key. The former `Holdings` does not
    change. The log names the account and shows no key.
    """
    credentials = folder.credentials()
    before = credentials.now
    folder.write("a.key", NEW)
    assert credentials.reload_if_changed()
    assert (before.keys["a"], credentials.now.keys["a"]) == (OLD, NEW)
    (line,) = logged
    assert line["event"] == "accounts_reloaded"
    assert (line["key_changed"], line["added"], line["removed"], line["changed"]) == (["a"], [], [], [])
    assert line["not_served"] == ["b"]
    assert "sk-" not in repr(logged)


def test_accounts_come_and_go(folder: Folder, logged: Logged) -> None:
    """
    The log names the accounts that were added, removed or changed. An account is held as soon as its key file exists.
    """
    credentials = folder.credentials()
    folder.write("b.key", OTHER)
    assert credentials.reload_if_changed()
    assert credentials.now.queues == ("edits.a", "edits.b")
    folder.write("c.key", NEW)
    folder.accounts("b", "c", b="tier = 2")
    assert credentials.reload_if_changed()
    assert [account.id for account in credentials.now.held] == ["b", "c"]
    assert [(line["added"], line["removed"], line["key_changed"], line["changed"]) for line in logged] == [
        ([], [], ["b"], []),
        (["c"], ["a"], [], ["b"]),
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("accounts.toml", "[accounts.a", "expected TOML"),
        ("accounts.toml", '[accounts.a]\nkey_file = "a.key"\nweight = 0\n', "accounts.a.weight: expected a number"),
        ("accounts.toml", '[accounts.c]\nkey_file = "c.key"\n', "accounts.c: no key, "),
        ("accounts.toml", '[accounts.a]\nkey_file = "c.key"\n[accounts.b]\nkey_file = "a.key"\n', "accounts.a: no key"),
        ("a.key", "", "accounts.a: no key, "),
        ("a.key", f"{NEW}\n{NEW}\n", "accounts.a: no key, "),
    ],
)
def test_a_fault_keeps_all_as_it_was(folder: Folder, logged: Logged, name: str, content: str, reason: str) -> None:
    """
    While a changed file is wrong, the accounts stay, and the fault is logged once. After a correction, the next check
    uses the new file.
    """
    credentials = folder.credentials()
    before = credentials.now
    folder.write(name, content)
    assert not credentials.reload_if_changed()
    assert not credentials.reload_if_changed()
    assert credentials.now is before
    (line,) = logged
    assert (line["event"], line["log_level"]) == ("accounts_not_reloaded", "warning")
    assert reason in line["reason"]
    assert "sk-" not in repr(logged)
    folder.accounts("a", "b")
    folder.write("a.key", NEW)
    assert credentials.reload_if_changed()
    assert credentials.now.keys["a"] == NEW


def test_a_reload_that_is_asked_for_is_answered(folder: Folder, logged: Logged) -> None:
    """After `ask_reload` the next check logs one line, even if no file has changed."""
    credentials = folder.credentials()
    credentials.ask_reload()
    assert credentials.reload_if_changed()
    assert not credentials.reload_if_changed()
    assert [line["event"] for line in logged] == ["accounts_reloaded"]
