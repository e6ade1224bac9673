"""`/v1/stats`: throughput, latencies, failures and cost of a time range."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from retouch.store.redis_client import clear_errors
from retouch.store.stats import read_stats
from retouch_producer.documents import stats_document
from retouch_producer.gateway.dependencies import Injected
from retouch_producer.gateway.http.auth import Caller, scope
from retouch_producer.gateway.http.body import parse_instant
from retouch_producer.gateway.http.errors import ProblemError, problem_responses
from retouch_producer.gateway.http.parameters import Since, TenantFilter
from retouch_producer.gateway.schemas import stats as stats_schemas

router = APIRouter(prefix="/v1", tags=["operations"])
By = Annotated[Literal["account", "tenant"] | None, Query(description="Rows in `data`; none without it.")]
_HOUR_S = 3_600.0


@router.get(
    "/stats",
    operation_id="read_stats",
    response_model=stats_schemas.Stats,
    responses=problem_responses(401, 403, 404, 422, 503),
)
def read_statistics(
    key: Caller, dependencies: Injected, since: Since | None = None, by: By = None, tenant: TenantFilter = None
) -> JSONResponse:
    """
    Return what happened from `since` (an hour ago by default) until now.

    A key of role producer gets the numbers of its own tenant. Rows by account need a key of role ops or viewer, and
    cannot be limited to one tenant. Counts by minute are kept for 72 hours, and counts by hour for 90 days. With more
    than 100 tenants, only the 100 busiest have a row, and the row `other` has the sum of the others.
    """
    wanted = scope(key, tenant) or None
    if by == "account" and wanted:
        raise ProblemError("forbidden", "rows by account are of all tenants; nothing was read")
    start = parse_instant(since, "since") if since else time.time() - _HOUR_S
    with clear_errors():
        stats = read_stats(dependencies.client, dependencies.settings.price_per_call, start, by=by, tenant=wanted)
    return JSONResponse(stats_document(stats))
