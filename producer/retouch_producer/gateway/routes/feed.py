"""`/v1/events`: the events of all jobs of a tenant after a cursor, also for clients that were disconnected."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from retouch.events import event_id, event_object
from retouch.feed import FeedEntry, last_cursor, read_page
from retouch.store.redis_client import clear_errors
from retouch_producer.documents import Document
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import Caller, scope
from retouch_producer.gateway.http.body import Prefer, preferred_wait_s
from retouch_producer.gateway.http.errors import invalid, problem_responses
from retouch_producer.gateway.http.parameters import PageLimit, TenantFilter
from retouch_producer.gateway.http.request_turns import turn_given_up
from retouch_producer.gateway.schemas import events as event_schemas

_CURSOR = re.compile(r"latest|[0-9]{1,16}(-[0-9]{1,16})?")
_STEP, _LOOKED_AT_MOST = 1_000, 10_000
After = Annotated[
    str,
    Query(description="`0` reads from the beginning, `latest` from now on, a `next_cursor` from where a page ended."),
]

router = APIRouter(prefix="/v1/events", tags=["events"])


@router.get(
    "",
    operation_id="read_events",
    response_model=event_schemas.FeedPage,
    responses=problem_responses(401, 404, 422, 503),
)
async def read_events(
    key: Caller,
    dependencies: Injected,
    after: After = "0",
    tenant: TenantFilter = None,
    limit: PageLimit = 100,
    prefer: Prefer = None,
) -> JSONResponse:
    """
    Return events, oldest first. They are kept for 30 days, but no longer than their jobs.

    With `Prefer: wait=N`, an empty page is delayed until there is an event, for up to N seconds.
    """
    if not _CURSOR.fullmatch(after):
        raise invalid([("after", "expected `0`, `latest`, or the `next_cursor` of a page")])
    tenant_scope, wait_s = scope(key, tenant), preferred_wait_s(prefer)
    page = await run_in_threadpool(_page, dependencies, after, tenant_scope, limit)
    if not wait_s:
        return JSONResponse(page)
    with suppress(TimeoutError):
        async with asyncio.timeout(wait_s), dependencies.event_hub.listen(tenant_scope) as news:
            # The page is read again after listening has begun, or an event in between would be missed.
            while not page["data"]:
                news.clear()
                page = await run_in_threadpool(_page, dependencies, page["next_cursor"], tenant_scope, limit)
                if not (page["data"] or page["has_more"]):
                    async with turn_given_up():
                        await news.wait()
    return JSONResponse(page, headers={"Preference-Applied": f"wait={wait_s:g}"})


def _page(dependencies: Dependencies, after: str, tenant: str, limit: int) -> Document:
    with clear_errors():
        after = last_cursor(dependencies.client) if after == "latest" else after
        entries, cursor, has_more = _entries(dependencies, after, tenant, limit)
        return {"data": _events(entries, dependencies), "has_more": has_more, "next_cursor": cursor}


def _entries(dependencies: Dependencies, cursor: str, tenant: str, limit: int) -> tuple[list[FeedEntry], str, bool]:
    """
    Return up to `limit` entries after a cursor, the next cursor, and whether more entries may follow.

    `tenant` selects one tenant's entries; "" selects all.
    """
    # Bounded: one page for a tenant with few events would otherwise read the whole feed.
    entries: list[FeedEntry] = []
    for count in (limit + 1, *[_STEP] * (_LOOKED_AT_MOST // _STEP)):
        page = read_page(dependencies.client, cursor, count)
        for entry in page:
            if len(entries) == limit:
                return entries, cursor, True
            cursor = entry.cursor
            if entry.job and tenant in ("", entry.tenant):
                entries.append(entry)
        if len(page) < count:
            return entries, cursor, False
    return entries, cursor, True


def _events(entries: list[FeedEntry], dependencies: Dependencies) -> list[dict[str, object]]:
    jobs, price = dependencies.connections.jobs, dependencies.settings.price_per_call
    records = {record.id: record for record in jobs.records(sorted({entry.job for entry in entries}))}
    pairs = zip(entries, jobs.entries([(entry.job, entry.sequence) for entry in entries]), strict=True)
    return [
        {
            "id": event_id(entry.job, entry.sequence),
            "cursor": entry.cursor,
            **event_object(records[entry.job], timeline_entry, dependencies.blobs.link, price),
        }
        for entry, timeline_entry in pairs
        if timeline_entry and entry.job in records
    ]
