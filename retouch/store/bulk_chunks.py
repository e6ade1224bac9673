"""Finds the jobs and deliveries on which a bulk run acts, page by page, and counts the calls that the run may make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from retouch.query import JobQuery
from retouch.states import DeliveryState, JobState
from retouch.store import keys
from retouch.store.bulk import BulkRequest, BulkRun, Preview
from retouch.store.deliveries import DeliveryRecord, DeliveryStore
from retouch.store.job_search import JobSearch
from retouch.store.jobs import JobStore
from retouch.store.pagination import IndexCursor
from retouch.store.records import JobRecord

CHUNK = 100
"""The most jobs that are read for one chunk."""
PREVIEW_MOST = 100_000
"""A preview stops counting when it has this many jobs."""
_PAGE = 500
_APPLIES_TO: dict[str, tuple[str, ...]] = {
    "cancel": tuple(state for state in JobState if not state.is_final),
    "replay": (JobState.FAILED, JobState.CANCELLED),
    "redeliver": (),
    "priority": (JobState.QUEUED, JobState.RETRYING),
}
_NO_STATE = "none"  # no job has this state


class BulkChunks:
    """Reads the jobs of bulk runs. `max_charges` is the bound for jobs whose policy does not set one."""

    def __init__(self, jobs: JobStore, deliveries: DeliveryStore, max_charges: int) -> None:
        self._jobs, self._deliveries, self._max_charges = jobs, deliveries, max_charges
        self._search = JobSearch(jobs)

    def preview(self, request: BulkRequest) -> Preview:
        """
        Return how many jobs and deliveries a run would change now, and how many calls could follow; change nothing.
        """
        found = Preview()
        for records in self._pages(changeable_jobs(request)):
            free = sum(record.resumable for record in records) if request.action == "replay" else 0
            calls = sum(self._calls_of(one) for one in records) if request.action == "replay" else 0
            found = Preview(
                jobs=found.jobs + len(records),
                deliveries=found.deliveries + len(self._deliveries_of(records, request, float("inf"))),
                resume_free=found.resume_free + free,
                calls_most=found.calls_most + calls,
            )
            if found.jobs >= PREVIEW_MOST:
                return replace(found, is_complete=False)
        return found

    def _calls_of(self, record: JobRecord) -> int:
        """Return the most calls that a replay of a job may make: 0 if its answer is paid for."""
        return 0 if record.resumable else int(record.spec.policy.get("max_charges") or self._max_charges)

    def _pages(self, query: JobQuery) -> Iterator[list[JobRecord]]:
        after: IndexCursor | None = None
        while True:
            page = self._search.page(query, _PAGE, after)
            yield page.records
            after = page.following
            if after is None:
                return

    def next_chunk(self, run: BulkRun) -> tuple[int, list[str], IndexCursor | None]:
        """
        Return the number of jobs read, the items of the next chunk, and the cursor of the chunk after that one. The
        cursor is None at the end.
        """
        page = self._search.page(changeable_jobs(run.request), CHUNK, run.cursor)
        if run.request.action == "redeliver":
            return len(page.records), self._deliveries_of(page.records, run.request, run.created_at), page.following
        return len(page.records), [record.id for record in page.records], page.following

    def _deliveries_of(self, records: list[JobRecord], request: BulkRequest, made_before: float) -> list[str]:
        """
        Return the ids of the deliveries that `redeliver` sends again; return an empty list for other actions.

        Only deliveries made before `made_before` (Unix seconds) are returned. If the query names receivers, only
        deliveries to these are returned. If the request has `dead`, only dead letters are returned.
        """
        if request.action != "redeliver" or not records:
            return []
        with self._jobs.client.pipeline(transaction=False) as pipe:
            for record in records:
                pipe.lrange(keys.deliveries_of(record.id), 0, -1)
            ids = [item for items in pipe.execute() for item in items]

        def is_meant(one: DeliveryRecord) -> bool:
            return (
                (not request.query.receivers or one.receiver in request.query.receivers)
                and (not request.dead or one.state == DeliveryState.DEAD)
                and (one.created_at or 0.0) < made_before
            )

        return [one.id for one in self._deliveries.records(ids) if is_meant(one)]


def changeable_jobs(request: BulkRequest) -> JobQuery:
    """Return the query of a request, limited to the states in which the action can change a job."""
    states = _APPLIES_TO[request.action]
    if not states:
        return request.query
    wanted = tuple(state for state in states if state in request.query.states) if request.query.states else states
    return replace(request.query, states=wanted or (_NO_STATE,))


def can_match(request: BulkRequest) -> bool:
    """Return True if the query names no state, or a state in which the action can change a job."""
    return changeable_jobs(request).states != (_NO_STATE,)
