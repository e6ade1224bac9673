"""Checks the accounts of the endpoint: faults of the file, missing keys, and accounts that get no jobs."""

from __future__ import annotations

from collections.abc import Iterator

from retouch.errors import SettingsError
from retouch.redis_without_sdk import redis
from retouch.settings import Settings
from retouch.store.accounts import AccountNumbers, AccountStore
from retouch.store.redis_client import connect
from retouch_producer.findings import Finding, bad, good, note
from retouch_worker.edits.credentials import Credentials

CHECK = "accounts"


def check_accounts(settings: Settings) -> list[Finding]:
    """Return findings about the accounts file, if one is set, and about the state of its accounts in the store."""
    in_file = _file(settings) if settings.accounts else []
    return [*in_file, *(finding for numbers in _accounts(settings) for finding in _account(numbers))]


def _file(settings: Settings) -> list[Finding]:
    try:
        holdings = Credentials(settings).now
    except SettingsError as error:
        return [_fault(fault) for fault in error.faults]
    names = ", ".join(account.id for account in holdings.accounts)
    return [good(CHECK, f"the file has {names}"), *(_key(*lacking) for lacking in holdings.lacking.items())]


def _fault(fault: str) -> Finding:
    why = "no worker of edits starts with it, and those that run keep the accounts that they have"
    return bad(CHECK, fault, why, "correct it; workers look at the file once a second")


def _key(account: str, reason: str) -> Finding:
    why = f"a worker here would take no jobs of it: {reason}"
    return note(
        CHECK, f"the key of {account} is not here", why, "right where no worker runs; else see docs/accounts.md"
    )


def _accounts(settings: Settings) -> list[AccountNumbers]:
    """
    Return the accounts in the store. There are none if the settings name the only account.

    If Redis does not answer, return an empty list, since the check of Redis reports that fault.
    """
    client = connect(settings)
    try:
        return AccountStore(client).all()
    except (redis.RedisError, OSError):
        return []
    finally:
        client.close()


def _account(numbers: AccountNumbers) -> Iterator[Finding]:
    name = numbers.id
    if not numbers.served:
        why = "it gets no jobs; those that it must be polled for wait"
        yield bad(CHECK, f"no living worker serves {name}", why, "start a worker that has its key, or remove its table")
    if numbers.closed:
        why = "the endpoint refused it, so its jobs go to other accounts or wait"
        do = f"correct its key or balance, then `retouch accounts test {name}`"
        yield bad(CHECK, f"{name} is closed: {numbers.closed}", why, do)
    if numbers.mode:
        yield _mode(numbers)
    if numbers.breaker_open_s:
        why = "its last answers were errors, or none came; its jobs go to other accounts or wait"
        yield note(
            CHECK, f"the breaker of {name} is open for another {numbers.breaker_open_s:.0f} s", why, "ask the vendor"
        )
    if numbers.binding == "calls_per_day":
        why, do = "it gets no jobs until midnight UTC", "raise calls_per_day in the accounts file if that is too few"
        yield note(CHECK, f"the calls of today of {name} are spent", why, do)


def _mode(numbers: AccountNumbers) -> Finding:
    name, do = numbers.id, f"`retouch accounts resume {numbers.id}`"
    if numbers.mode == "paused":
        return note(CHECK, f"{name} is paused by hand", "it gets neither calls nor polls", do)
    if numbers.held:
        why = "its work in progress is polled to its end"
        return note(CHECK, f"{name} drains and holds {numbers.held} slots", why, f"wait, or {do}")
    return note(
        CHECK, f"{name} has drained", "it gets nothing new and nothing is in work", f"remove its table, or {do}"
    )
