"""`/v1/bulk`: previews, starts, lists and aborts bulk runs. A run is one action on all jobs that match a query."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from retouch.errors import QueueFull
from retouch.store.bulk import BulkRun, read_request
from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey
from retouch_producer.documents import Document, bulk_document
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import Caller, actor_of, may_see, query_in_scope, scope
from retouch_producer.gateway.http.body import SINGLE_MOST, read_json
from retouch_producer.gateway.http.errors import ProblemError, invalid, not_found, problem_responses
from retouch_producer.gateway.http.request_turns import give_up_turn
from retouch_producer.gateway.routes.edits import IdempotencyKey, body_of
from retouch_producer.gateway.schemas import bulk as bulk_schemas

router = APIRouter(prefix="/v1/bulk", tags=["bulk"])
_READ = problem_responses(401, 403, 404, 422, 503)


@router.post(
    "",
    operation_id="start_bulk",
    status_code=202,
    response_model=bulk_schemas.BulkRun,
    openapi_extra=body_of(bulk_schemas.BulkRequest),
    responses={
        200: {"model": bulk_schemas.BulkPreview, "description": "What it would do: a dry run."},
        **problem_responses(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
    },
)
async def start_bulk(
    request: Request,
    key: Caller,
    dependencies: Injected,
    idempotency_key: IdempotencyKey = None,
    dry_run: Annotated[bool, Query(description="As in the body.")] = False,
) -> Response:
    """
    Start an action on all jobs that match a query. With `dry_run`, only return the number of jobs and the highest cost.

    The run ignores jobs that are enqueued, or that end, after this request. A tenant may have five open runs. Counting
    stops at 100,000 jobs or after 10 s, and then `is_complete` is false.
    """
    wanted = _checked(await read_json(request, SINGLE_MOST))
    wanted.idempotency_key = wanted.idempotency_key or idempotency_key
    wanted.dry_run = wanted.dry_run or dry_run
    # Counting may take seconds; meanwhile the tenant's other requests have their turns.
    await give_up_turn()
    return await dependencies.bulk.run(key.tenant, _start, wanted, key, dependencies)


def _checked(body: dict[str, Any]) -> bulk_schemas.BulkRequest:
    try:
        return bulk_schemas.BulkRequest.model_validate(body)
    except ValidationError as error:
        faults = [(".".join(map(str, fault["loc"])) or "body", fault["msg"]) for fault in error.errors()]
        raise invalid(faults) from None


def _start(wanted: bulk_schemas.BulkRequest, key: ApiKey, dependencies: Dependencies) -> Response:
    request = read_request(
        wanted.action,
        wanted.query,
        wanted.priority,
        wanted.dead,
        time.time(),
        lambda query: query_in_scope(key, query, wanted.tenant),
    )
    bulk = dependencies.connections.bulk
    with clear_errors():
        if wanted.dry_run:
            preview = asdict(bulk.preview(request))
            return JSONResponse({"action": request.action, "query": str(request.query), "preview": preview})
        try:
            run = bulk.start(request, actor_of(key), key.tenant, wanted.idempotency_key or "")
        except QueueFull as error:
            detail = "the tenant has five open bulk runs; nothing was begun"
            raise ProblemError("too-many-at-once", detail, retry_after_s=error.retry_after_s) from None
    return JSONResponse(_document(run), 202, {"Location": f"/v1/bulk/{run.id}"})


def _document(run: BulkRun) -> Document:
    own = f"/v1/bulk/{run.id}"
    return {**bulk_document(run), "links": {"self": own, "abort": f"{own}/abort"}}


def _known(dependencies: Dependencies, run_id: str, key: ApiKey) -> BulkRun:
    """Return a run; raise the same 404 for an unknown id and for a run of another tenant."""
    with clear_errors():
        run = dependencies.connections.bulk.store.find(run_id)
    if run is None or not may_see(key, run.tenant):
        raise not_found("bulk run")
    return run


@router.get("", operation_id="list_bulk", response_model=bulk_schemas.BulkPage, responses=_READ)
def list_bulk(
    key: Caller,
    dependencies: Injected,
    tenant: Annotated[str | None, Query(description="Asked for by this tenant alone.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> JSONResponse:
    """List bulk runs, newest first."""
    wanted = scope(key, tenant)
    with clear_errors():
        return JSONResponse(
            {"data": [_document(run) for run in dependencies.connections.bulk.store.page(wanted, limit)]}
        )


@router.get("/{run_id}", operation_id="read_bulk", response_model=bulk_schemas.BulkRun, responses=_READ)
def read_bulk(run_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """Return one run, with its progress and the outcomes so far."""
    return JSONResponse(_document(_known(dependencies, run_id, key)))


@router.post("/{run_id}/abort", operation_id="abort_bulk", response_model=bulk_schemas.BulkAborted, responses=_READ)
def abort_bulk(run_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """Abort a run. What it has done is not undone."""
    run = _known(dependencies, run_id, key)
    with clear_errors():
        outcome = dependencies.connections.bulk.store.abort(run.id, actor_of(key))
    if outcome == "unknown":
        raise not_found("bulk run")
    return JSONResponse({"outcome": outcome, "run": _document(_known(dependencies, run_id, key))})
