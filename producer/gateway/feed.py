"""`/v1/events`: every event of a tenant's jobs behind a cursor, for consumers that were away."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from producer.gateway import shapes
from producer.gateway.access import Caller, scope
from producer.gateway.problems import ProblemError, documented
from producer.gateway.tools import GatewayTools, Tools
from retouch.events import event_id, event_object
from retouch.feed import FeedEntry, last_cursor, read_page
from retouch.store.connect import clear_errors

_CURSOR = re.compile(r"latest|[0-9]{1,16}(-[0-9]{1,16})?")
_STEP, _LOOKED_AT_MOST = 1_000, 10_000

router = APIRouter(prefix="/v1/events", tags=["events"])


@router.get("", operation_id="read_events", response_model=shapes.FeedPage, responses=documented(401, 404, 422, 503))
def read_events(
    key: Caller, tools: Tools,
    after: Annotated[str, Query(description="`0`: the beginning; `latest`: from now; else a `next_cursor`.")] = "0",
    tenant: Annotated[str | None, Query(description="Of this tenant alone; a key of role ops sees all.")] = None,
    limit: Annotated[int, Query(ge=1, le=shapes.PAGE_MOST)] = 100,
) -> JSONResponse:  # fmt: skip
    """Read events, oldest first; they are kept for 30 days, as long as their jobs are."""
    if not _CURSOR.fullmatch(after):
        raise ProblemError("invalid-request", "1 fault(s)", faults=[("after", "expected a cursor that a page gave")])
    wanted = scope(key, tenant)
    with clear_errors():
        after = last_cursor(tools.client) if after == "latest" else after
        entries, cursor, has_more = _entries(tools, after, wanted, limit)
        data = _events(entries, tools)
    return JSONResponse({"data": data, "has_more": has_more, "next_cursor": cursor})


def _entries(tools: GatewayTools, cursor: str, tenant: str, limit: int) -> tuple[list[FeedEntry], str, bool]:
    """Read entries of one tenant, or of all for "", up to a bound of what is looked at."""
    found: list[FeedEntry] = []
    for _ in range(_LOOKED_AT_MOST // _STEP):
        page = read_page(tools.client, cursor, _STEP)
        for entry in page:
            if len(found) == limit:
                return found, cursor, True
            cursor = entry.cursor
            if entry.job and tenant in ("", entry.tenant):
                found.append(entry)
        if len(page) < _STEP:
            return found, cursor, False
    return found, cursor, True


def _events(entries: list[FeedEntry], tools: GatewayTools) -> list[dict[str, object]]:
    jobs = tools.connections.jobs
    records = {record.id: record for record in jobs.records(sorted({entry.job for entry in entries}))}
    data = []
    for entry in entries:
        found = jobs.record_with_entry(entry.job, entry.sequence)[1] if entry.job in records else None
        if found:
            event = event_object(records[entry.job], found, tools.blobs.link, tools.settings.price_per_call)
            data.append({"id": event_id(entry.job, entry.sequence), "cursor": entry.cursor, **event})
    return data
