"""
The pages of the endpoint's accounts. They show slots, gates, calls and money, and can pause, drain, resume and test.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from retouch.accounts import DEFAULT_ACCOUNT
from retouch.states import JobState
from retouch.store import keys
from retouch.store.accounts import AccountNumbers, AccountStore, Binding
from retouch.store.history import DAY_S, HOUR_S, History
from retouch.store.history_counts import HistoryCounts
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.store.worker_presence import worker_presence
from retouch_producer.gateway.console.changes import actor_of
from retouch_producer.gateway.console.limit_plot import limit_plot
from retouch_producer.gateway.console.money import Spent, spent_today, total_of
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router, done
from retouch_producer.gateway.console.snapshots import Snapshots
from retouch_producer.gateway.console.visitors import Acting, SignedIn, Visitor
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.errors import ProblemError, not_found
from retouch_producer.gateway.moves.accounts import Switch, begin_test, switch_account

SLOTS_MOST, CELLS_MOST = 300, 60
PERIODS = (("1 hour", HOUR_S), ("1 day", DAY_S), ("3 days", 3 * DAY_S))
_WORDS: dict[Binding, str] = {
    "none": "It takes jobs.",
    "unserved": "No living worker has its key. Start a worker that has it.",
    "closed": "The endpoint refuses the account itself. Correct the cause, then test it.",
    "paused": "It is paused by hand. Neither calls nor polls are sent.",
    "draining": "It is drained by hand. Nothing new is sent; what it has in work is polled to its end.",
    "calls_per_day": "Its calls of today are spent. It takes jobs again after midnight UTC.",
    "breaker": "Its breaker is open after errors of the endpoint. It tries again by itself.",
    "resting": "Its queue was full a moment ago. It goes on by itself.",
    "in_flight": "All of its slots are taken.",
}
_WORDS_OF_SOLE: dict[Binding, str] = {
    "unserved": "No worker runs.",
    "paused": "The lane is paused by hand: nothing more is dispatched, what holds a slot goes on.",
}

router = console_router()
# The ledgers of all tenants, and the rows of three days: too much for every tick of every tab.
_spent = Snapshots[Spent](keep_s=1.0)
_calls = Snapshots["list[AccountPeriod]"](keep_s=5.0)


@dataclass(frozen=True, slots=True)
class AccountRow:
    """
    One account. `is_sole` is true without an accounts file: then this is the account of the settings, and it has no
    gates of its own.
    """

    numbers: AccountNumbers
    is_sole: bool

    @property
    def state(self) -> str:
        """
        Return the state in one word: `open`, `paused`, `draining`, `closed`, `testing`, `removed` or `unserved`.

        `unserved` means that no living worker has the account's key.
        """
        if self.numbers.closed:
            return "testing" if self.numbers.tested else "closed"
        if self.numbers.removed and not self.numbers.mode:
            return "removed"
        return self.numbers.mode or ("open" if self.numbers.served else "unserved")

    @property
    def waits_for(self) -> str:
        """Return a text for people that says why the account gets no jobs now, or that it gets jobs."""
        words = {**_WORDS, **_WORDS_OF_SOLE} if self.is_sole else _WORDS
        return words[self.numbers.binding]

    @property
    def spent(self) -> Spent:
        """Return the charges of the jobs that ended today, by use: useful, repeated, wasted or unknown."""
        return Spent(**self.numbers.charges_today)


@dataclass(frozen=True, slots=True)
class AccountPeriod:
    """
    The calls of an account in a period that ends now. `answers` has the number of answers of each class.

    `p50` and `p95` are percentiles of the latency in seconds, or None if there were no calls.
    """

    name: str
    calls: int
    answers: dict[str, int]
    p50: float | None
    p95: float | None


@router.get("/accounts")
def show_accounts(request: Request, visitor: SignedIn, dependencies: Injected) -> Response:
    """Show all accounts, in the order of the accounts file, with the sums of today."""
    _refuse_producers(visitor)
    with clear_errors():
        rows = _rows(dependencies)
    numbers = [row.numbers for row in rows]
    return page(
        request,
        "accounts.html",
        visitor,
        rows=rows,
        total=total_of([row.spent for row in rows]),
        amount=sum(one.amount_today for one in numbers),
        held=sum(one.held for one in numbers),
        limit=sum(one.limit for one in numbers if one.takes_jobs),
        calls=sum(one.calls_today for one in numbers),
    )


@router.get("/accounts/{account_id}")
def show_account(request: Request, account_id: str, visitor: SignedIn, dependencies: Injected) -> Response:
    """Show one account: its slots with their jobs, its gates, calls and money, and the actions of ops."""
    _refuse_producers(visitor)
    with clear_errors():
        row = next((row for row in _rows(dependencies) if row.numbers.id == account_id), None)
        if row is None:
            raise not_found("account")
        jobs = _jobs_in_slots(dependencies, account_id)
        periods = _calls.get((id(dependencies), account_id), lambda: _periods(History(dependencies.client), account_id))
        steps = AccountStore(dependencies.client).limit_steps(account_id)
    return page(
        request,
        "account.html",
        visitor,
        row=row,
        jobs=jobs[:CELLS_MOST],
        most=CELLS_MOST,
        periods=periods,
        plot=limit_plot(steps, row.numbers.limit, time.time()) if row.numbers.learns else None,
        done=request.query_params.get("done", ""),
    )


@router.post("/accounts/{account_id}/test")
def test(
    account_id: str, visitor: Annotated[Visitor, Depends(Acting("test_account"))], dependencies: Injected
) -> Response:
    """Let one job through to an account that the endpoint closed."""
    outcome, _ = begin_test(dependencies, actor_of(visitor.key), account_id)
    return done(f"/console/accounts/{account_id}", outcome)


@router.post("/accounts/{account_id}/{switch}")
def switch(
    account_id: str,
    switch: Switch,
    visitor: Annotated[Visitor, Depends(Acting("switch_account"))],
    dependencies: Injected,
) -> Response:
    """Pause, drain or resume an account."""
    switch_account(dependencies, actor_of(visitor.key), account_id, switch)
    return done(f"/console/accounts/{account_id}", switch)


def _refuse_producers(visitor: Visitor) -> None:
    if not visitor.sees_all:
        raise ProblemError("forbidden", "accounts are shown to keys of role viewer or ops")


def _rows(dependencies: Dependencies) -> list[AccountRow]:
    several = [AccountRow(numbers, is_sole=False) for numbers in AccountStore(dependencies.client).all()]
    return several or [AccountRow(_account_of_settings(dependencies), is_sole=True)]


def _account_of_settings(dependencies: Dependencies) -> AccountNumbers:
    spent = _spent.get(
        id(dependencies), lambda: spent_today(dependencies.client, dependencies.connections.jobs.tenants())
    )
    midnight = time.time() // DAY_S * DAY_S
    today = History(dependencies.client).between_by("account", midnight).get(DEFAULT_ACCOUNT, HistoryCounts())
    free = today.answers.get("refused", 0) + today.answers.get("failed", 0)
    return AccountStore(dependencies.client).of_settings(
        {name: count for name, count, _, _ in spent.parts},
        max(0, today.calls - free),
        dependencies.settings.price_per_call,
        worker_presence(dependencies.client).is_alive,
    )


def _jobs_in_slots(dependencies: Dependencies, account: str) -> list[JobRecord]:
    """Return the jobs that hold a slot of the account, sorted by the time of their start."""
    found = dependencies.connections.jobs.records(
        dependencies.client.zrange(keys.lane("edits", "slots"), 0, SLOTS_MOST - 1)
    )
    own = [record for record in found if record.account == account and not JobState(record.state).is_final]
    return sorted(own, key=lambda record: record.started_at or time.time())


def _periods(history: History, account: str) -> list[AccountPeriod]:
    now, found = time.time(), list[AccountPeriod]()
    for name, seconds in PERIODS:
        counts = history.between_by("account", now - seconds).get(account, HistoryCounts())
        latency = counts.latency("endpoint")
        found.append(AccountPeriod(name, counts.calls, counts.answers, latency.percentile(50), latency.percentile(95)))
    return found
