"""Shows the accounts of the endpoint; pauses, drains, resumes and tests one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from retouch.store.accounts import AccountNumbers, AccountStore, UnknownAccount
from retouch_producer.cli.context import CommandContext, open_context
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.render import ago, print_table, span
from retouch_producer.documents import account_document

_HEAD = ("ACCOUNT", "TIER", "WEIGHT", "MODE", "LIMIT", "HELD", "WAITS FOR", "BREAKER", "RESTING", "WORKERS")
_LOOK_EVERY_S = 0.25
_NONE = "one account, made of the settings: `retouch status` shows it; RETOUCH_ACCOUNTS names a file of several"


def list_accounts(*, as_json: bool) -> None:
    """Print the state of all accounts, as a table or as a JSON array."""
    with _accounts() as (_, accounts):
        found = accounts.all()
    if as_json:
        print(json.dumps([account_document(one) for one in found], indent=2))
        return
    print_table((*_HEAD, "CALLS TODAY", "MONEY TODAY"), [_row(one) for one in found], _NONE)


def _row(one: AccountNumbers) -> tuple[object, ...]:
    most = f" of {one.calls_per_day}" if one.calls_per_day else ""
    return (
        *(one.id, one.tier, f"{one.weight:g}", mode_text(one), _limit_text(one), one.held),
        *("-" if one.binding == "none" else one.binding, _span_text(one.breaker_open_s), _span_text(one.resting_s)),
        *(one.workers, f"{one.calls_today}{most}", f"{one.amount_today:g}"),
    )


def mode_text(one: AccountNumbers) -> str:
    """
    Return the mode of an account as text: `open`, `paused`, `draining`, or `removed` once the file does not name it.

    If the endpoint closed the account, return `closed: CODE`, or `testing: CODE` while a test runs. CODE is the error
    code of the refusal.
    """
    if one.closed:
        return f"{'testing' if one.tested else 'closed'}: {one.closed}"
    return one.mode or ("removed" if one.removed else "open")


def _limit_text(one: AccountNumbers) -> str:
    return f"{one.limit} {'learnt' if one.learns else 'set'}"


def _span_text(seconds: float) -> str:
    return span(seconds) if seconds else "-"


def show_account(account: str, *, as_json: bool) -> None:
    """Print one account; raise `UsageError` for an unknown id."""
    with _accounts() as (_, accounts):
        found = accounts.show(account)
    if as_json:
        print(json.dumps(account_document(found), indent=2))
        return
    print("\n".join(f"{name:<10}{text}" for name, text in _lines(found)))


def _lines(one: AccountNumbers) -> Iterator[tuple[str, str]]:
    yield "account", one.id
    yield "mode", mode_text(one) + (f", since {ago(one.closed_at)}" if one.closed_at and one.closed else "")
    yield "choice", f"tier {one.tier}, weight {one.weight:g}"
    yield "slots", f"{one.held} held, limit {_limit_text(one)}"
    yield "rate", f"{one.rate_per_s:g} dispatches per second at most" if one.rate_per_s else "no bound"
    yield "waits for", "nothing" if one.binding == "none" else one.binding
    yield "breaker", f"open for another {span(one.breaker_open_s)}" if one.breaker_open_s else "closed"
    yield "resting", f"for another {span(one.resting_s)}, its queue was full" if one.resting_s else "no"
    yield "workers", str(one.workers)
    tenants = f"only {', '.join(one.tenants)}; shared accounts: {one.shared_fallback}" if one.tenants else "all"
    yield "tenants", tenants
    yield "today", f"{one.calls_today} calls of {one.calls_per_day or 'any number'}"
    charges = ", ".join(f"{count} {kind}" for kind, count in one.charges_today.items() if count) or "none ended"
    yield "charges", f"{charges}; {one.amount_today:g} at {one.price_per_call:g} each"


def pause_account(account: str) -> None:
    """Pause an account; raise `UsageError` for an unknown id."""
    _switch(account, "pause", "paused; calls under way end, and neither calls nor polls are sent any more")


def drain_account(account: str) -> None:
    """Drain an account; raise `UsageError` for an unknown id."""
    _switch(account, "drain", "draining; no new calls are sent, and work in progress there is polled to its end")


def resume_account(account: str) -> None:
    """Resume an account; raise `UsageError` for an unknown id."""
    _switch(account, "resume", "resumed")


def _switch(account: str, action: Literal["pause", "drain", "resume"], outcome: str) -> None:
    with _accounts() as (context, accounts):
        {"pause": accounts.pause, "drain": accounts.drain, "resume": accounts.resume}[action](account)
        context.note_change(f"account.{action}", ids=[account])
        now = accounts.show(account)
    print(f"{account}: {outcome}")
    if now.closed:
        print(f"{account}: the endpoint closed it ({now.closed}); `retouch accounts test {account}` tries it")
    elif now.held and now.mode:
        print(f"{account}: {now.held} slots are still held")


def test_account(account: str, wait_s: float) -> int:
    """
    Let one job through to a closed account, wait up to `wait_s` seconds for its answer, and print the outcome.

    Return exit code 0 if the account is open, else 1. Raise `UsageError` for an unknown id.
    """
    with _accounts() as (context, accounts):
        before = accounts.show(account)
        is_closed = accounts.test(account)
        context.note_change("account.test", ids=[account], outcome="testing" if is_closed else "not_closed")
        if not is_closed:
            print(f"{account}: is {_not_closed_text(before)}; nothing was tested")
            return 1 if before.mode else 0
        status = context.queue.status()
        if not status.waiting + status.parked:
            print(f"{account}: no job is waiting; the next one that comes is let through to it")
            return 1
        outcome = _wait_for_probe(accounts, before, wait_s)
        now = accounts.show(account)
    if outcome or not now.mode:
        print(f"{account}: {outcome or 'is open again'}")
    else:
        print(f"{account}: the test has passed, but it is {_not_closed_text(now)}")
    return 1 if outcome or now.mode else 0


def _not_closed_text(one: AccountNumbers) -> str:
    return f"{one.mode}, `retouch accounts resume {one.id}` ends that" if one.mode else "not closed"


def _wait_for_probe(accounts: AccountStore, before: AccountNumbers, wait_s: float) -> str:
    """
    Wait up to `wait_s` seconds for the answer to the job that tests an account.

    Return an empty text if the account has opened. Otherwise return a sentence with the reason.
    """
    until = time.monotonic() + wait_s
    while time.monotonic() < until:
        now = accounts.show(before.id)
        if not now.closed:
            return ""
        if now.closed_at != before.closed_at:
            return f"a job was let through and refused ({now.closed}); the account stays closed, the job goes on"
        time.sleep(_LOOK_EVERY_S)
    return f"no answer within {wait_s:g} s; the test goes on, `retouch accounts show {before.id}` shows how it ends"


@contextmanager
def _accounts() -> Iterator[tuple[CommandContext, AccountStore]]:
    with open_context() as context:
        try:
            yield context, AccountStore(context.connections.client)
        except UnknownAccount as error:
            raise UsageError(str(error)) from None
