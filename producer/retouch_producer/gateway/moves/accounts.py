"""Pauses, drains, resumes and tests an account of the endpoint, for the API and for the console."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from retouch.store.accounts import AccountNumbers, AccountStore, UnknownAccount
from retouch.store.audit import Actor
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.dependencies import Dependencies
from retouch_producer.gateway.http.errors import ProblemError

Switch = Literal["pause", "drain", "resume"]
TestOutcome = Literal["testing", "no_job_waiting", "not_closed"]


@contextmanager
def known_accounts(dependencies: Dependencies) -> Iterator[AccountStore]:
    """
    Context manager that yields the store of the accounts.

    An unknown account id in the block raises the problem `not-found`.
    """
    try:
        with clear_errors():
            yield AccountStore(dependencies.client)
    except UnknownAccount:
        detail = "no account has this id, or there is one account alone, which the settings make"
        raise ProblemError("not-found", detail) from None


def switch_account(dependencies: Dependencies, actor: Actor, account: str, switch: Switch) -> AccountNumbers:
    """Pause, drain or resume an account, and write this into the audit. Return the account after the change."""
    with known_accounts(dependencies) as accounts:
        {"pause": accounts.pause, "drain": accounts.drain, "resume": accounts.resume}[switch](account)
        dependencies.audit.record(actor, f"account.{switch}", ids=[account])
        return accounts.show(account)


def begin_test(dependencies: Dependencies, actor: Actor, account: str) -> tuple[TestOutcome, AccountNumbers]:
    """
    Let one job through to a closed account, and write this into the audit. Return the outcome and the account.

    The function returns before the job is answered.
    """
    with known_accounts(dependencies) as accounts:
        outcome: TestOutcome = "testing" if accounts.test(account) else "not_closed"
        dependencies.audit.record(actor, "account.test", ids=[account], outcome=outcome)
        lane = dependencies.connections.lanes.numbers("edits")
        if outcome == "testing" and not lane.waiting + lane.parked:
            outcome = "no_job_waiting"
        return outcome, accounts.show(account)
