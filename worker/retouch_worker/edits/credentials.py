"""
The endpoint keys of one worker process, and the accounts that they belong to.

Keys are only in this process' memory. No `repr`, log line or message contains a key. Keys and accounts that were read
at the same time are in one immutable `Holdings`. A reload makes a new `Holdings`, and a call in flight keeps its key.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from retouch.accounts import DEFAULT_ACCOUNT, Account, accounts_of
from retouch.errors import SettingsError
from retouch.publisher import queue_of
from retouch.settings import Settings
from retouch_worker.logs import log

KEY_LEAST, KEY_MOST_BYTES = 8, 10_000
Stamp = tuple[int, int, int] | None
"""The time of the last change, the size and the inode of a file; None if the file does not exist."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """
    The accounts and keys that this process read at one time.

    `accounts` are all accounts of the file, in its order. `keys` has the key of each account whose key could be read,
    by account id. `lacking` has the reason for each other account. `former` are keys that were replaced since the
    process began: an answer may still contain one. `leaving` are accounts that this process had, but that the file does
    not name. This process completes the jobs of leaving accounts, and they get no new jobs.
    """

    accounts: tuple[Account, ...]
    keys: Mapping[str, str] = field(repr=False)
    lacking: Mapping[str, str]
    former: tuple[str, ...] = field(default=(), repr=False)
    leaving: tuple[Account, ...] = ()

    @property
    def held(self) -> tuple[Account, ...]:
        """The accounts whose key this process holds."""
        return tuple(account for account in self.accounts if account.id in self.keys)

    def with_leaving(self, accounts: Iterable[Account], keys: Mapping[str, str]) -> Holdings:
        """
        Return a copy with these accounts in `leaving` and their keys in `keys`. Accounts that are already known do not
        change.
        """
        known = {account.id for account in (*self.accounts, *self.leaving)}
        leaving = {account.id: account for account in accounts if account.id not in known}
        held = {**{name: keys[name] for name in leaving}, **self.keys}
        return replace(self, keys=held, leaving=(*self.leaving, *leaving.values()))

    @property
    def secrets(self) -> tuple[str, ...]:
        """All present and former keys, the longest first, since one key may be the beginning of another."""
        return tuple(sorted({*self.keys.values(), *self.former} - {""}, key=len, reverse=True))

    @property
    def served(self) -> tuple[str, ...]:
        """The ids of the accounts that get new jobs because this process holds their keys."""
        return tuple(account.id for account in self.held)

    @property
    def claimable(self) -> tuple[str, ...]:
        """The ids of the accounts whose jobs this process claims: accounts that it serves, and leaving accounts."""
        return (*self.served, *(account.id for account in self.leaving))

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of the queues that this process consumes: one for each account, and `edits` for `default`."""
        return tuple(queue_of(account) for account in self.claimable)


class Credentials:
    """
    The accounts and keys of this process. Threads may share one object.

    The constructor raises `SettingsError` if the accounts file is wrong. A key that cannot be read is no error, since
    other workers may hold it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._stamps = settings, dict[Path, Stamp]()
        self._reading = threading.Lock()
        self._asked = False
        self._now = self._read()

    def __repr__(self) -> str:
        return f"Credentials({self._now!r})"

    @property
    def now(self) -> Holdings:
        """The accounts and keys that this process holds at present."""
        return self._now

    def require_one(self) -> None:
        """
        Raise `SettingsError` if this process holds no key of any account. The error has the reason for each account.
        """
        if not self._now.held:
            raise SettingsError(_lines(self._now.lacking))

    def ask_reload(self) -> None:
        """Make the next `reload_if_changed` reload in any case. Signal handlers may call this: it only sets a flag."""
        self._asked = True

    def reload_if_changed(self) -> bool:
        """
        Reload if `ask_reload` was called, or if the accounts file or a key file has changed.

        Return True if the new accounts and keys are now in use.
        """
        is_same = all(_stamp(path) == stamp for path, stamp in self._stamps.items())
        return False if is_same and not self._asked else self.reload()

    def reload(self) -> bool:
        """
        Read the accounts and keys again; return True if the new ones are now in use.

        Failure policy: after any fault, the process keeps its accounts and keys, and the log says why. If the process
        holds the key of a file, and the file is now missing or empty, this is a fault: a writer may not have finished
        the file, and without the key, paid work would stop.
        """
        with self._reading:
            asked, self._asked = (
                self._asked,
                False,
            )  # before reading: a signal during the reading leads to another reload
            if not self._settings.accounts:
                log.warning("accounts_not_reloaded", reason="RETOUCH_ACCOUNTS is empty; a changed key needs a restart")
                return False
            before, after, faults = self._now, *self._read_again()
            if after is None or faults:
                log.warning("accounts_not_reloaded", reason="; ".join(faults))
                return False
            replaced = {key for name, key in before.keys.items() if after.keys.get(name) != key}
            after = after.with_leaving((*before.leaving, *before.held), before.keys)
            self._now = replace(after, former=tuple({*before.former, *replaced} - {*after.keys.values()}))
            _report(before, after, asked=asked)
            return True

    def _read_again(self) -> tuple[Holdings | None, list[str]]:
        try:
            after = self._read()
        except SettingsError as error:
            return None, error.faults
        return after, _faults(self._now, after)

    def _read(self) -> Holdings:
        # Each stamp is taken before its file is read, so that the next check notices a change between the two.
        where = [Path(self._settings.accounts)] if self._settings.accounts else []
        stamps = {path: _stamp(path) for path in where}
        self._stamps |= stamps
        accounts = tuple(accounts_of(self._settings))
        stamps |= {path: _stamp(path) for account in accounts if account.key_file for path in [Path(account.key_file)]}
        self._stamps = stamps
        keys, lacking = dict[str, str](), dict[str, str]()
        for account in accounts:
            try:
                keys[account.id] = self._key(account)
            except _NoKey as reason:
                lacking[account.id] = str(reason)
        return Holdings(accounts, keys, lacking).with_leaving(self._former_default(), self._settings_key)

    @property
    def _settings_key(self) -> Mapping[str, str]:
        return {DEFAULT_ACCOUNT: self._settings.pix2pix_key.get_secret_value()}

    def _former_default(self) -> tuple[Account, ...]:
        """
        If the settings have both an accounts file and a key, return the account of the settings; else an empty tuple.

        This process then completes the jobs of this account.
        """
        if not self._settings.accounts or not self._settings_key[DEFAULT_ACCOUNT]:
            return ()
        return tuple(accounts_of(self._settings.model_copy(update={"accounts": ""})))

    def _key(self, account: Account) -> str:
        if not self._settings.accounts:
            return self._settings.pix2pix_key.get_secret_value()
        if account.key_env:
            source, text = f"the variable {account.key_env}", os.environ.get(account.key_env, "")
        else:
            source, text = account.key_file, _content(account.key_file)
        key = text.strip()
        if not key:
            raise _NoKey(f"{source} is empty")
        if not key.isprintable():
            raise _NoKey(f"{source}: expected one line of text")
        if (
            len(key) < KEY_LEAST
        ):  # keys are removed from answers wherever they occur, and a short one may occur in a link by chance
            raise _NoKey(f"{source}: expected {KEY_LEAST} characters or more")
        return key


class _NoKey(Exception):
    """Raised if the key of an account cannot be used. The message says why, and never contains a part of the key."""


def _content(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return file.read(KEY_MOST_BYTES).decode()
    except OSError as error:
        raise _NoKey(f"{path} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise _NoKey(f"{path}: expected one line of text") from None


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _faults(before: Holdings, after: Holdings) -> list[str]:
    gone = {name: reason for name, reason in after.lacking.items() if name in before.keys}
    return _lines(gone if after.held else after.lacking)


def _lines(reasons: Mapping[str, str]) -> list[str]:
    return [f"accounts.{name}: no key, {reason}" for name, reason in reasons.items()]


def _report(before: Holdings, after: Holdings, *, asked: bool) -> None:
    old = {account.id: account for account in before.accounts}
    new = {account.id: account for account in after.accounts}
    both = [name for name in new if name in old]
    news: dict[str, Sequence[str]] = {
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
        "key_changed": [name for name in both if before.keys.get(name) != after.keys.get(name)],
        "changed": [name for name in both if old[name] != new[name]],
    }
    if asked or any(news.values()):
        log.info("accounts_reloaded", **news, not_served=list(after.lacking))
