"""
`/v1/accounts`: shows the endpoint's accounts to roles viewer and ops. Role ops may test, pause, drain and resume them.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from retouch_producer.documents import account_document
from retouch_producer.gateway.dependencies import Injected
from retouch_producer.gateway.http.auth import Caller, actor_of
from retouch_producer.gateway.http.errors import problem_responses
from retouch_producer.gateway.moves.accounts import begin_test, known_accounts, switch_account
from retouch_producer.gateway.schemas import accounts as schemas

router = APIRouter(prefix="/v1/accounts", tags=["operations"])
_SWITCH = problem_responses(401, 403, 404, 503)


@router.get(
    "",
    operation_id="list_accounts",
    response_model=schemas.AccountPage,
    responses=problem_responses(401, 403, 503),
)
def list_accounts(_key: Caller, dependencies: Injected) -> JSONResponse:
    """
    Return all accounts, in the order of the accounts file.

    The list is empty if the only account is made from the settings.
    """
    with known_accounts(dependencies) as accounts:
        return JSONResponse({"data": [account_document(numbers) for numbers in accounts.all()]})


@router.get("/{account_id}", operation_id="read_account", response_model=schemas.Account, responses=_SWITCH)
def read_account(_key: Caller, dependencies: Injected, account_id: str) -> JSONResponse:
    """Return the state of one account."""
    with known_accounts(dependencies) as accounts:
        return JSONResponse(account_document(accounts.show(account_id)))


@router.post("/{account_id}/test", operation_id="test_account", response_model=schemas.AccountTest, responses=_SWITCH)
def send_test(key: Caller, dependencies: Injected, account_id: str) -> JSONResponse:
    """
    Let one job through to an account that the endpoint closed. Read the account again to see whether it is open.

    The account opens, unless the answer to the job is again a reason to close it. If the outcome is `no_job_waiting`,
    the next job that is enqueued is let through.
    """
    outcome, account = begin_test(dependencies, actor_of(key), account_id)
    return JSONResponse({"outcome": outcome, "account": account_document(account)})


@router.post("/{account_id}/pause", operation_id="pause_account", response_model=schemas.Account, responses=_SWITCH)
def pause_account(key: Caller, dependencies: Injected, account_id: str) -> JSONResponse:
    """Stop all calls and polls to an account; calls under way continue, and new jobs go to other accounts."""
    return JSONResponse(account_document(switch_account(dependencies, actor_of(key), account_id, "pause")))


@router.post("/{account_id}/drain", operation_id="drain_account", response_model=schemas.Account, responses=_SWITCH)
def drain_account(key: Caller, dependencies: Injected, account_id: str) -> JSONResponse:
    """Stop new calls to an account. Workers still poll its jobs in progress, until these jobs end."""
    return JSONResponse(account_document(switch_account(dependencies, actor_of(key), account_id, "drain")))


@router.post("/{account_id}/resume", operation_id="resume_account", response_model=schemas.Account, responses=_SWITCH)
def resume_account(key: Caller, dependencies: Injected, account_id: str) -> JSONResponse:
    """End a pause or a drain. An account that the endpoint closed needs a test."""
    return JSONResponse(account_document(switch_account(dependencies, actor_of(key), account_id, "resume")))
