"""Finds the jobs and deliveries on which a bulk run acts, page by page, and counts the calls that the run may make."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from retouch.batches import batched
from retouch.query import JobQuery
from retouch.states import JobState
from retouch.store.bulk import BulkRequest, BulkRun, Preview
from retouch.store.job_search import JobSearch
from retouch.store.jobs import JobStore
from retouch.store.pagination import IndexCursor
from retouch.store.redis_commands import Script, Value
from retouch.store.scripts import load
from retouch.sync_async import iterate_sync

CHUNK = 100
"""The most jobs that are read for one chunk."""
PREVIEW_MOST = 100_000
"""A preview stops counting when it has this many jobs."""
PREVIEW_MOST_S = 10.0
"""A preview stops counting after this time, so that its answer arrives before a proxy gives up the request."""
_PART = 100  # jobs that one script call counts, about 0.4 ms
_PART_OF_DELIVERIES = 20  # jobs whose deliveries one script call reads: each may have many
_APPLIES_TO: dict[str, tuple[str, ...]] = {
    "cancel": tuple(state for state in JobState if not state.is_final),
    "replay": (JobState.FAILED, JobState.CANCELLED),
    "redeliver": (),
    "priority": (JobState.QUEUED, JobState.RETRYING),
}
_NO_STATE = "none"  # no job has this state


class BulkChunks:
    """Reads the jobs of bulk runs. `max_charges` is the bound for jobs whose policy does not set one."""

    def __init__(self, jobs: JobStore, max_charges: int) -> None:
        self._max_charges = max_charges
        self._search = JobSearch(jobs)
        self._calls: Script[list[int]] = load(jobs.client, "bulk_calls")
        self._deliveries: Script[list[str]] = load(jobs.client, "bulk_deliveries")

    def preview(self, request: BulkRequest) -> Preview:
        """
        Return how many jobs and deliveries a run would change now, and how many calls could follow; change nothing.

        The preview is not complete if counting stopped at 100,000 jobs or after 10 s.
        """
        until = time.monotonic() + PREVIEW_MOST_S
        found = Preview()
        for ids in iterate_sync(self._search.every_id(changeable_jobs(request))):
            for part in batched(ids, _PART):
                found = self._with(found, part, request)
                if found.jobs >= PREVIEW_MOST or time.monotonic() > until:
                    return replace(found, is_complete=False)
        return found

    def _with(self, found: Preview, ids: Sequence[str], request: BulkRequest) -> Preview:
        """Return a preview that counts these jobs too, except those that the action cannot change."""
        wanted = _in_spaces(changeable_jobs(request).states)
        calls = self._calls(args=[wanted, self._max_charges, *ids])
        meant = [job for job, most in zip(ids, calls, strict=True) if most >= 0]
        is_replay = request.action == "replay"
        return Preview(
            jobs=found.jobs + len(meant),
            deliveries=found.deliveries + len(self._deliveries_of(meant, request)),
            resume_free=found.resume_free + (calls.count(0) if is_replay else 0),
            calls_most=found.calls_most + (sum(most for most in calls if most > 0) if is_replay else 0),
        )

    def next_chunk(self, run: BulkRun) -> tuple[int, list[str], IndexCursor | None]:
        """
        Return the number of jobs read, the items of the next chunk, and the cursor of the chunk after that one. The
        cursor is None at the end.
        """
        page = self._search.page(changeable_jobs(run.request), CHUNK, run.cursor)
        ids = [record.id for record in page.records]
        if run.request.action == "redeliver":
            ids = self._deliveries_of(ids, run.request, run.created_at)
        return len(page.records), ids, page.following

    def _deliveries_of(self, jobs: list[str], request: BulkRequest, made_before: Value = "") -> list[str]:
        """
        Return the ids of the deliveries that `redeliver` sends again; return an empty list for other actions.

        With `made_before`, only deliveries made before this instant (Unix seconds) are returned. If the query names
        receivers, only deliveries to these are returned. If the request has `dead`, only dead letters are returned.
        """
        if request.action != "redeliver":
            return []
        wanted, dead = _in_spaces(request.query.receivers), int(request.dead)
        found = list[str]()
        for part in batched(jobs, _PART_OF_DELIVERIES):
            found += self._deliveries(args=[wanted, dead, made_before, *part])
        return found


def _in_spaces(words: Sequence[str]) -> str:
    """Return the words in the form in which scripts look for one of them, or an empty text if there is none."""
    return f" {' '.join(words)} " if words else ""


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
