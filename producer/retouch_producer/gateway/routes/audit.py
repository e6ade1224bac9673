"""`/v1/audit`: who changed what, through which surface, with which outcome. It needs a key of role ops."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from retouch.store.audit import AuditFilter
from retouch.store.redis_client import clear_errors
from retouch_producer.documents import audit_document
from retouch_producer.gateway.dependencies import Injected
from retouch_producer.gateway.http.auth import Caller
from retouch_producer.gateway.http.body import parse_instant
from retouch_producer.gateway.http.errors import invalid, problem_responses
from retouch_producer.gateway.http.parameters import PageCursor, PageLimit, Since, Until
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
    since: Since | None = None,
    until: Until | None = None,
    action: Annotated[str, Query(description="An action, or its first part: `bulk`.")] = "",
    actor: Annotated[str, Query(description="The id or name of a key, or a surface.")] = "",
    tenant: Annotated[str, Query(description="The owner of what was changed.")] = "",
    limit: PageLimit = 100,
    cursor: PageCursor | None = None,
) -> JSONResponse:
    """List the changes of the last 90 days, newest first."""
    wanted = audit_filter(since, until, action, actor, tenant)
    with clear_errors():
        lines, following = dependencies.audit.search(wanted, audit_cursor(cursor), limit)
    data = [audit_document(line) for line in lines]
    return JSONResponse({"data": data, "has_more": following is not None, "next_cursor": following})


def audit_filter(since: str | None, until: str | None, action: str, actor: str, tenant: str) -> AuditFilter:
    """
    Return the filter made from the values of a request.

    Raises `invalid-request` if `since` or `until` is no instant.
    """
    ends_at = parse_instant(until, "until") if until else float("inf")
    return AuditFilter(parse_instant(since, "since"), ends_at, action.strip(), actor.strip(), tenant.strip())


def audit_cursor(cursor: str | None) -> str:
    """Return a cursor, or "" for no cursor. Raises `invalid-request` for a text without the form of a cursor."""
    if cursor and not _CURSOR.fullmatch(cursor):
        raise invalid([("cursor", "expected the next_cursor of a page")])
    return cursor or ""
