"""`/v1/audit`: who changed what, through which surface, with which outcome. It needs a key of role ops."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from retouch.store.redis_client import clear_errors
from retouch_producer.documents import audit_document
from retouch_producer.gateway.dependencies import Injected
from retouch_producer.gateway.http.auth import Caller
from retouch_producer.gateway.http.body import parse_instant
from retouch_producer.gateway.http.errors import invalid, problem_responses
from retouch_producer.gateway.schemas import bulk as bulk_schemas

router = APIRouter(prefix="/v1", tags=["operations"])
_CURSOR = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")


@router.get(
    "/audit",
    operation_id="list_audit",
    response_model=bulk_schemas.AuditPage,
    responses=problem_responses(401, 403, 422, 503),
)
def list_audit(
    _key: Caller,
    dependencies: Injected,
    since: Annotated[str | None, Query(description="ISO 8601 or Unix seconds.")] = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.")] = None,
) -> JSONResponse:
    """List the changes of the last 90 days, newest first."""
    if cursor and not _CURSOR.fullmatch(cursor):
        raise invalid([("cursor", "expected the next_cursor of a page")])
    with clear_errors():
        lines = dependencies.audit.page(parse_instant(since, "since"), cursor or "", limit + 1)
    following = lines[limit - 1].id if len(lines) > limit else None
    data = [audit_document(line) for line in lines[:limit]]
    return JSONResponse({"data": data, "has_more": following is not None, "next_cursor": following})
