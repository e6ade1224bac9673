"""
`/v1/usage` returns the cost of calls; `/v1/status`, `/v1/pause` and `/v1/resume` show and change the state of the
lanes.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import asdict, replace
from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator

from retouch.store.failing_receivers import count_failing, failing_receivers
from retouch.store.lanes import LANES
from retouch.store.ledger import By
from retouch.store.redis_client import clear_errors
from retouch.store.state_counts import ended_jobs
from retouch.store.worker_presence import worker_presence
from retouch_producer.documents import failure_document, lane_document, worker_document
from retouch_producer.gateway.dependencies import Injected
from retouch_producer.gateway.http.auth import Caller, scope
from retouch_producer.gateway.http.errors import problem_responses
from retouch_producer.gateway.http.parameters import PageCursor, PageLimit, TenantFilter
from retouch_producer.gateway.http.roles import sees_all
from retouch_producer.gateway.schemas import admin as admin_schemas
from retouch_producer.gateway.schemas.edits import PAGE_MOST


def _day(text: object) -> object:
    """
    Return the value. Raise `ValueError` for a text other than a day such as 2026-01-31; pydantic accepts more texts.
    """
    if isinstance(text, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError("expected a day such as 2026-01-31")
    return text


router = APIRouter(prefix="/v1", tags=["operations"])
Lane = Annotated[Literal["edits", "deliveries"], Query(description="The lane.")]
Day = Annotated[date, BeforeValidator(_day)]
FirstDay = Annotated[Day | None, Query(description="First UTC day.")]
LastDay = Annotated[Day | None, Query(description="Last UTC day.")]
_FAILING_NAMED = 20
_SWITCH = problem_responses(401, 403, 422, 503)


@router.get(
    "/usage",
    operation_id="read_usage",
    response_model=admin_schemas.Usage,
    responses=problem_responses(401, 404, 422, 503),
)
def read_usage(
    key: Caller,
    dependencies: Injected,
    by: By = "tenant",
    tenant: TenantFilter = None,
    since: FirstDay = None,
    until: LastDay = None,
    limit: PageLimit = PAGE_MOST,
    cursor: PageCursor = "",
) -> JSONResponse:
    """
    Return the numbers of useful, repeated, wasted and unknown calls, their cost, and the number of reserved calls.

    Rows are sorted by key. If a tenant has more than 1,000 tags in a day, the row `other` has the sum of the further
    tags. With `by=account`, the price of each account is used.
    """
    wanted = scope(key, tenant) or None
    with clear_errors():
        rows = dependencies.ledger.usage(
            tenant=wanted, since=since, until=until, by=by, price_per_call=dependencies.settings.price_per_call
        )
    start = bisect_right(rows, cursor, key=lambda row: row.key) if cursor else 0
    page, has_more = rows[start : start + limit], start + limit < len(rows)
    following = page[-1].key if has_more else None
    data = [asdict(row) for row in page]
    return JSONResponse({"by": by, "data": data, "has_more": has_more, "next_cursor": following})


@router.get(
    "/status", operation_id="read_status", response_model=admin_schemas.Status, responses=problem_responses(401, 503)
)
def read_status(key: Caller, dependencies: Injected) -> JSONResponse:
    """
    Return the numbers of both lanes, how many jobs ended, which workers run, and which receivers fail.

    A key of role producer gets the numbers of its own tenant. They count jobs in the backlog, in flight, or waiting for
    their next attempt, and jobs on record that ended. The limit, the pause and the breaker are always those of the
    whole lane. `workers` is empty for a key of role producer.
    """
    with clear_errors():
        if sees_all(key.role):
            lanes = {lane: dependencies.connections.lanes.numbers(lane) for lane in LANES}
            ended = dependencies.connections.jobs.counts()
            workers = [worker_document(one) for one in worker_presence(dependencies.client).workers]
        else:
            lanes = {lane: dependencies.connections.lanes.numbers_of(lane, key.tenant) for lane in LANES}
            ended = ended_jobs(dependencies.connections.blocking_client, key.tenant)
            lanes["edits"] = replace(lanes["edits"], dead=ended.get("failed", 0))
            workers = []
        described = {lane: lane_document(numbers) for lane, numbers in lanes.items()}
        own = "" if sees_all(key.role) else key.tenant
        failing = [failure_document(one) for one in failing_receivers(dependencies.client, own, _FAILING_NAMED)]
        count = count_failing(dependencies.client, own)
    failures = {"receivers_failing": count, "failing_receivers": failing}
    return JSONResponse({**described, "ended": ended, "workers": workers, **failures})


@router.post("/pause", operation_id="pause", response_model=admin_schemas.Status, responses=_SWITCH)
def pause(key: Caller, dependencies: Injected, lane: Lane = "edits") -> JSONResponse:
    """Stop dispatching. Jobs wait, calls in flight continue, and nothing is lost."""
    with clear_errors():
        dependencies.connections.lanes.pause(lane)
        dependencies.note_change(key, "lane.pause", lane=lane)
    return read_status(key, dependencies)


@router.post("/resume", operation_id="resume", response_model=admin_schemas.Status, responses=_SWITCH)
def resume(key: Caller, dependencies: Injected, lane: Lane = "edits") -> JSONResponse:
    """Resume dispatching. The next job is dispatched within about a second."""
    with clear_errors():
        dependencies.connections.lanes.resume(lane)
        dependencies.note_change(key, "lane.resume", lane=lane)
    return read_status(key, dependencies)
