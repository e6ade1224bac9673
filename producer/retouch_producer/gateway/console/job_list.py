"""The list of jobs with its filters, as a table or as a contact sheet of their pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query, Request, Response
from pydantic import BaseModel

from retouch.query import JobQuery, parse_query
from retouch.states import JobState
from retouch.store.job_search import JobSearch
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.store.state_counts import jobs_by_state
from retouch_producer.gateway.console.bulk import bulk_bar
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router
from retouch_producer.gateway.console.snapshots import Snapshots
from retouch_producer.gateway.console.visitors import SignedIn, Visitor
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import query_in_scope
from retouch_producer.gateway.http.body import parse_instant
from retouch_producer.gateway.http.errors import invalid
from retouch_producer.gateway.http.pagination import parse_cursor

ROWS, PICTURES = 30, 48
STATES = tuple(JobState)
SUGGESTED_MOST = 60
ANY_LIST = ("since:1h", "since:1d", "since:7d", "cost:>1")
"""Terms that the list suggests in addition to states and to what its jobs have."""

TENANTS_COUNTED_MOST = 200
"""Of more tenants together, the list shows no counts by state: reading them would take too long."""

router = console_router()
_counts = Snapshots["dict[str, int]"](keep_s=2.0)


class JobFilters(BaseModel):
    """The filters of the job list, from the query string of the page's URL. An empty filter matches everything."""

    q: str = ""
    state: str = ""
    code: str = ""
    tag: str = ""
    tenant: str = ""
    since: str = ""
    until: str = ""
    view: Literal["table", "sheet"] = "table"
    cursor: str = ""

    def address(self, **changes: str) -> str:
        """
        Return the address of the list after `changes` to its filters.

        Unless `changes` has a cursor, the address leads to the first page.
        """
        values = {**self.model_dump(), "cursor": "", **changes}
        given = {name: value for name, value in values.items() if value and (name, value) != ("view", "table")}
        return f"/console/jobs?{urlencode(given)}" if given else "/console/jobs"

    @property
    def is_narrowed(self) -> bool:
        """Return whether any filter except the state is set."""
        return bool(self.tenant) or self.is_searched

    @property
    def is_searched(self) -> bool:
        """Return whether any filter except the state and the tenant is set."""
        return any((self.q, self.code, self.tag, self.since, self.until))


@router.get("/jobs")
def show_jobs(
    request: Request, visitor: SignedIn, dependencies: Injected, filters: Annotated[JobFilters, Query()]
) -> Response:
    """Show a page of jobs, newest first."""
    query = _query(filters, visitor)
    with clear_errors():
        limit = PICTURES if filters.view == "sheet" else ROWS
        found = JobSearch(dependencies.connections.jobs).page(query, limit, parse_cursor(filters.cursor))
        # The counts are of all jobs on record; beside a narrower list they would mislead.
        counts = {} if filters.is_searched else _counts_of(dependencies, query.tenants)
    following = filters.address(cursor=str(found.following)) if found.following else ""
    return page(
        request,
        "jobs.html",
        visitor,
        filters=filters,
        jobs=found.records,
        looked_at=found.looked_at if filters.q else 0,
        following=following,
        states=STATES,
        counts=counts,
        suggested=_suggested(found.records, visitor),
        # Without a filter the bar would offer to act on every job on record, which no surface does.
        bar=bulk_bar(query) if filters.state or filters.is_narrowed else None,
    )


def _counts_of(dependencies: Dependencies, tenants: Sequence[str]) -> dict[str, int]:
    """Return how many jobs of these tenants are in each state; no tenants means all of them."""

    def read() -> dict[str, int]:
        jobs = dependencies.connections.jobs
        counted = tenants or jobs.tenants()
        return jobs_by_state(jobs, counted) if len(counted) <= TENANTS_COUNTED_MOST else {}

    return _counts.get((id(dependencies), *tenants), read)


def _suggested(records: Sequence[JobRecord], visitor: Visitor) -> list[str]:
    """Return terms for the query: those that fit any list, and those of the jobs on this page."""
    queries = [JobQuery(states=(state,)) for state in STATES]
    queries += [JobQuery(codes=(one.error.code,)) for one in records if one.error]
    queries += [JobQuery(tags=((tag,),)) for one in records for tag in sorted(one.spec.tags.items())]
    queries += [JobQuery(tenants=(one.spec.tenant,)) for one in records if visitor.sees_all]
    return [*dict.fromkeys(map(str, queries)), *ANY_LIST][:SUGGESTED_MOST]


def _query(filters: JobFilters, visitor: Visitor) -> JobQuery:
    if filters.state and filters.state not in STATES:
        raise invalid([("state", f"expected one of {', '.join(STATES)}")])
    name, _, value = filters.tag.partition("=")
    chosen = JobQuery(
        states=(filters.state,) if filters.state else (),
        codes=(filters.code,) if filters.code else (),
        tags=(((name, value),),) if filters.tag else (),
        since=parse_instant(filters.since, "since"),
        until=parse_instant(filters.until, "until") if filters.until else float("inf"),
    )
    return query_in_scope(visitor.key, parse_query(filters.q, time.time()).also(chosen), filters.tenant)
