"""`/v1/edits`: enqueues one edit or a batch; lists and returns jobs."""

from __future__ import annotations

import json
import time
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from retouch.errors import InvalidEdit
from retouch.options import StateName
from retouch.query import JobQuery, parse_query
from retouch.states import JobState
from retouch.store.job_search import JobPage, JobSearch, fits
from retouch.store.jobs import EnqueueResult, refused
from retouch.store.records import JobRecord, JobSpec
from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey
from retouch_producer.documents import Document
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.enqueue.dry_run import estimate
from retouch_producer.gateway.enqueue.request import EnqueueRequest, read_request
from retouch_producer.gateway.events.job_wait import wait_until_final
from retouch_producer.gateway.http.auth import Caller, query_in_scope
from retouch_producer.gateway.http.body import (
    BATCH_MOST,
    SINGLE_MOST,
    Prefer,
    parse_instant,
    preferred_wait_s,
    read_json,
)
from retouch_producer.gateway.http.errors import not_found, problem_of, problem_responses
from retouch_producer.gateway.http.pagination import parse_cursor
from retouch_producer.gateway.http.parameters import PageCursor, PageLimit, Since, TenantFilter, Until
from retouch_producer.gateway.http.request_turns import give_up_turn, turn_taken
from retouch_producer.gateway.schemas import edits as edit_schemas
from retouch_producer.gateway.schemas.dry_run import DryRun

router = APIRouter(prefix="/v1/edits", tags=["edits"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=255, description="Within 24 h, the same request with this key returns the same job, and costs once."
    ),
]
DryRunFlag = Annotated[
    bool, Query(description="Return what the edit would cost and when it would run; nothing is enqueued.")
]
FailureCode = Annotated[str | None, Query(description="Only jobs that failed with this error code.")]
TagFilter = Annotated[str | None, Query(description="Only jobs with this tag, as `name=value`.")]
JobIds = Annotated[
    list[str] | None, Query(alias="id", max_length=100, description="Only these jobs, in the given order.")
]
QueryText = Annotated[
    str | None,
    Query(description="A query over jobs, such as `state:failed code:spam_filter since:2h`; see docs/queries.md."),
]
_ENQUEUE_RESPONSES = problem_responses(400, 401, 408, 413, 415, 422, 429, 500, 503)
_ACCEPTED_HEADERS = {
    "Location": {"schema": {"type": "string"}, "description": "The path of the job."},
    "Idempotent-Replayed": {
        "schema": {"type": "string"},
        "description": "`true` if the job was enqueued by an earlier request.",
    },
    "Preference-Applied": {"schema": {"type": "string"}, "description": "The wait that is applied."},
}
"""The headers of an answer with an accepted job, as OpenAPI describes them."""


def body_of(model: type[edit_schemas.Schema]) -> Document:
    """Return the OpenAPI description of a JSON body that the route parses itself."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post(
    "",
    operation_id="enqueue_edit",
    status_code=202,
    response_model=edit_schemas.Job,
    openapi_extra=body_of(edit_schemas.EditRequest),
    responses={
        200: {
            "model": edit_schemas.Job | DryRun,
            "description": "The job ended within the wait, or the answer to a dry run.",
            "headers": _ACCEPTED_HEADERS,
        },
        202: {"description": "Accepted.", "headers": _ACCEPTED_HEADERS},
        **_ENQUEUE_RESPONSES,
    },
)
async def enqueue(
    request: Request,
    key: Caller,
    dependencies: Injected,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
    dry_run: DryRunFlag = False,
) -> Response:
    """
    Enqueue one edit, and answer once the job is on record.

    With `Prefer: wait=N`, answer when the job has ended, or after N seconds.
    """
    edit_request = read_request(
        await read_json(request, SINGLE_MOST), key, dependencies.settings, idempotency_key or ""
    )
    if dry_run:
        return JSONResponse(await run_in_threadpool(estimate, edit_request, dependencies.connections))
    [result] = await dependencies.enqueue_service.enqueue([edit_request])
    if result.error:
        raise result.error
    wait_s = preferred_wait_s(prefer)
    headers = {"Location": f"/v1/edits/{result.id}"}
    if result.kind != "new":
        headers["Idempotent-Replayed"] = "true"
    if wait_s:
        headers["Preference-Applied"] = f"wait={wait_s:g}"
        await wait_until_final(dependencies.event_hub, dependencies.connections.jobs, result.id, wait_s)
    job = await _job_of(result, dependencies, fresh=not wait_s)
    status = 200 if wait_s and JobState(job["state"]).is_final else 202
    return JSONResponse(job, status, headers)


async def _job_of(result: EnqueueResult, dependencies: Dependencies, *, fresh: bool) -> Document:
    """
    Return the job of an enqueue result as a JSON object.

    If `fresh` is true and the job was enqueued just now, the store is not read.
    """
    # What was just written need not be read back: one round trip less for each request.
    if result.new and fresh:
        return dependencies.job_document(_new_record(result.id, result.new.spec_json))
    record = await run_in_threadpool(dependencies.connections.jobs.record, result.id)
    if record is None:
        raise not_found("job")
    return dependencies.job_document(record, replayed=result.kind == "replayed", shared=result.kind == "shared")


def _new_record(identity: str, spec_json: str) -> JobRecord:
    return JobRecord(
        id=identity,
        spec=JobSpec.from_json(spec_json),
        state=JobState.QUEUED.value,
        created_at=time.time(),
        started_at=None,
        finished_at=None,
        due_at=None,
        attempt=0,
        charges=(),
        error=None,
        images=(),
        cancelled="",
        cancel_requested=False,
        resumable=False,
    )


@router.post(
    "/batch",
    operation_id="enqueue_batch",
    response_model=edit_schemas.BatchAnswer,
    openapi_extra=body_of(edit_schemas.BatchRequest),
    responses=_ENQUEUE_RESPONSES,
)
async def enqueue_batch(
    request: Request, key: Caller, dependencies: Injected, idempotency_key: IdempotencyKey = None
) -> Response:
    """
    Enqueue up to 1,000 edits. Each edit is accepted or refused on its own. The answer has an item for each, in order.

    With the header `Idempotency-Key`, an item without a key of its own gets the key `{key}:{n}`, where n is its index.
    """
    # A slow upload of a batch must not block the tenant's other requests.
    await give_up_turn()
    async with dependencies.batch_limiter.hold(key.tenant):
        body = await read_json(request, BATCH_MOST)
        async with turn_taken():
            return await _enqueue_batch(body, key, dependencies, idempotency_key)


async def _enqueue_batch(
    body: Document, key: ApiKey, dependencies: Dependencies, idempotency_key: str | None
) -> Response:
    edits = body.get("edits")
    if not isinstance(edits, list) or not 1 <= len(edits) <= edit_schemas.BATCH_MOST or body.keys() != {"edits"}:
        raise InvalidEdit(
            [("edits", f"expected a list of 1 to {edit_schemas.BATCH_MOST:,} edits, and no other member")]
        )
    read = await run_in_threadpool(_read_items, edits, key, dependencies, idempotency_key)
    requests = [item for item in read if isinstance(item, EnqueueRequest)]
    results = iter(await dependencies.enqueue_service.enqueue(requests))
    # Items that were refused while reading keep their position among the results of the others.
    in_order = [next(results) if isinstance(item, EnqueueRequest) else item for item in read]
    items = [_item(index, result) for index, result in enumerate(in_order)]
    accepted = sum(item["problem"] is None for item in items)
    numbers = f'"accepted":{accepted},"refused":{len(items) - accepted}'
    # Written item by item, so that an item that cannot be written does not affect the others.
    answer = b'{"items":[%s],%s}' % (b",".join(map(write_item, items)), numbers.encode())
    return Response(answer, media_type="application/json")


def write_item(item: Document) -> bytes:
    """
    Return one item of a batch's answer as JSON.

    Failure policy: an item that cannot be written gets the problem `internal` and keeps the id of its job. The other
    items are answered as usual.
    """
    try:
        return json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, RecursionError) as error:
        return json.dumps({**item, "status": 500, "problem": problem_of(error).document()}).encode()


def _read_items(
    edits: list[object], key: ApiKey, dependencies: Dependencies, batch_key: str | None
) -> list[EnqueueRequest | EnqueueResult]:
    return [_read_item(item, index, key, dependencies, batch_key) for index, item in enumerate(edits)]


def _read_item(
    item: object, index: int, key: ApiKey, dependencies: Dependencies, batch_key: str | None
) -> EnqueueRequest | EnqueueResult:
    if not isinstance(item, dict):
        return refused(InvalidEdit([(f"edits[{index}]", f"expected an object, got {type(item).__name__}")]))
    item_key = item.get("idempotency_key") or (f"{batch_key}:{index}" if batch_key else "")
    try:
        return read_request(item, key, dependencies.settings, item_key if isinstance(item_key, str) else "")
    except InvalidEdit as error:
        return refused(InvalidEdit([(f"edits[{index}].{name}", message) for name, message in error.faults]))


def _item(index: int, result: EnqueueResult) -> Document:
    problem = problem_of(result.error) if result.error else None
    return {
        "index": index,
        "status": problem.status if problem else 202,
        "id": result.id or None,
        "url": f"/v1/edits/{result.id}" if result.id else None,
        "replayed": result.kind == "replayed",
        "shared": result.kind == "shared",
        "problem": problem.document() if problem else None,
    }


@router.get(
    "", operation_id="list_edits", response_model=edit_schemas.JobPage, responses=problem_responses(401, 404, 422, 503)
)
def list_edits(
    key: Caller,
    dependencies: Injected,
    q: QueryText = None,
    state: StateName | None = None,
    since: Since | None = None,
    until: Until | None = None,
    code: FailureCode = None,
    tag: TagFilter = None,
    tenant: TenantFilter = None,
    ids: JobIds = None,
    limit: PageLimit = 50,
    cursor: PageCursor | None = None,
) -> JSONResponse:
    """
    List jobs, newest first. If ids are given as `id`, list only the jobs with these ids, on one page.

    Ids that are not on record are left out. A job must match `q` and all the other filters.
    """
    jobs = dependencies.connections.jobs
    name, _, value = (tag or "").partition("=")
    filters = JobQuery(
        states=(state,) if state else (),
        codes=(code,) if code else (),
        tags=(((name, value),),) if tag else (),
        since=parse_instant(since, "since"),
        until=parse_instant(until, "until") if until else float("inf"),
    )
    query = query_in_scope(key, parse_query(q or "", time.time()).also(filters), tenant)
    with clear_errors():
        if ids and not q:
            records = [record for record in jobs.records(ids) if fits(query, record)]
            page = JobPage(records, None, len(ids))
        else:
            named = JobQuery(ids=tuple(ids or ()))
            page = JobSearch(jobs).page(query.also(named), limit, parse_cursor(cursor))
        data = [dependencies.job_document(record) for record in page.records]
    next_cursor = str(page.following) if page.following else None
    return JSONResponse(
        {"data": data, "has_more": next_cursor is not None, "next_cursor": next_cursor, "looked_at": page.looked_at}
    )


@router.get(
    "/{job_id}",
    operation_id="read_edit",
    response_model=edit_schemas.Job,
    responses=problem_responses(401, 404, 422, 503),
)
def read_edit(job_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """Return one job."""
    return JSONResponse(dependencies.job_document(dependencies.record(job_id, key)))
