"""`/v1/accounts`: the endpoint's accounts, for roles viewer and ops; test, pause, drain, resume, for ops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from retouch.store.accounts import AccountStore, UnknownAccount
from retouch.store.redis_client import clear_errors
from retouch_producer.documents import account_document
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import Caller
from retouch_producer.gateway.http.errors import ProblemError, problem_responses
from retouch_producer.gateway.schemas import accounts as schemas

router = APIRouter(prefix="/v1/accounts", tags=["operations"])
_SWITCH = problem_responses(401, 403, 404, 503)


@contextmanager
def _accounts(dependencies: Dependencies) -> Iterator[AccountStore]:
    try:
        with clear_errors():
            yield AccountStore(dependencies.client)
    except UnknownAccount:
        detail = "no account has this id, or there is one account alone, which the settings make"
        raise ProblemError("not-found", detail) from None


@router.get(
    "",
    operation_id="list_accounts",
    response_model=schemas.AccountPage,
    responses=problem_responses(401, 403, 503),
)
def list_accounts(_key: Caller, dependencies: Injected) -> JSONResponse:
    """Return all accounts, in the order of the accounts file; none if the only account is that of the settings."""
    with _accounts(dependencies) as accounts:
        return JSONResponse({"data": [account_document(numbers) for numbers in accounts.all()]})


@router.get("/{account_id}", operation_id="read_account", response_model=schemas.Account, responses=_SWITCH)
def read_account(_key: Caller, dependencies: Injected, account_id: str) -> JSONResponse:
    """Return the state of one account."""
    with _accounts(dependencies) as accounts:
        return JSONResponse(account_document(accounts.show(account_id)))


@router.post("/{account_id}/test", operation_id="test_account", response_model=schemas.AccountTest, responses=_SWITCH)
def send_test(key: Caller, dependencies: Injected, account_id: str) -> JSONResponse:
    """
    Let one job through to an account that the endpoint closed; read the account again to see the outcome.

    The account opens on any answer that is not a reason to close it. If the outcome is `no_job_waiting`, the next job
    that is enqueued is let through.
    """
    with _accounts(dependencies) as accounts:
        outcome = "testing" if accounts.test(account_id) else "not_closed"
        dependencies.note_change(key, "account.test", ids=[account_id], outcome=outcome)
        status = dependencies.connections.lanes.numbers("edits")
        if outcome == "testing" and not status.waiting + status.parked:
            outcome = "no_job_waiting"
        return JSONResponse({"outcome": outcome, "account": account_document(accounts.show(account_id))})


@router.post("/{account_id}/pause", operation_id="pause_account", response_model=schemas.Account, responses=_SWITCH)
def pause_account(key: Caller, dependencies: Injected, account_id: str) -> JSONResponse:
    """Stop all calls and polls to an account; calls under way continue, and new jobs go to other accounts."""
    with _accounts(dependencies) as accounts:
        accounts.pause(account_id)
        dependencies.note_change(key, "account.pause", ids=[account_id])
        return JSONResponse(account_document(accounts.show(account_id)))


@router.post("/{account_id}/drain", operation_id="drain_account", response_model=schemas.Account, responses=_SWITCH)
def drain_account(key: Caller, dependencies: Injected, account_id: str) -> JSONResponse:
    """Stop new calls to an account; workers still poll the jobs that it has in progress, to their end."""
    with _accounts(dependencies) as accounts:
        accounts.drain(account_id)
        dependencies.note_change(key, "account.drain", ids=[account_id])
        return JSONResponse(account_document(accounts.show(account_id)))


@router.post("/{account_id}/resume", operation_id="resume_account", response_model=schemas.Account, responses=_SWITCH)
def resume_account(key: Caller, dependencies: Injected, account_id: str) -> JSONResponse:
    """End a pause or a drain. An account that the endpoint closed needs a test."""
    with _accounts(dependencies) as accounts:
        accounts.resume(account_id)
        dependencies.note_change(key, "account.resume", ids=[account_id])
        return JSONResponse(account_document(accounts.show(account_id)))
