"""Counts the jobs on record by their state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from retouch.batches import batched
from retouch.query import JobQuery
from retouch.store import keys
from retouch.store.job_search import JobSearch
from retouch.store.jobs import JobStore
from retouch.store.redis_commands import Client

_IN_FLIGHT_MOST = 1_000
_PART = 200  # tenants in one pipeline; between two pipelines, Redis answers other clients


def jobs_by_state(jobs: JobStore, tenants: Sequence[str]) -> dict[str, int]:
    """
    Return {state: number of jobs on record} of these tenants; states without jobs are left out.

    Each number is read from an index, except for jobs in flight, whose number the limit of the lane bounds.
    """
    sizes = _sizes(jobs.client, tenants, keys.JOB_STATES_INDEXED)
    in_flight = JobQuery(tuple(tenants), states=("running", "polling"))
    found = JobSearch(jobs).page(in_flight, _IN_FLIGHT_MOST).records if sizes["open"] else []
    running = Counter(str(record.state) for record in found)
    # The index of open jobs has these and those that wait for their next attempt, too.
    queued = sizes.pop("open") - sizes["retrying"] - running.total()
    return {state: count for state, count in {**sizes, **running, "queued": queued}.items() if count > 0}


def ended_jobs(client: Client, tenant: str) -> dict[str, int]:
    """Return {state: count} of a tenant's jobs that ended and are on record; states without jobs are left out."""
    sizes = _sizes(client, [tenant], ("succeeded", "failed", "cancelled"))
    return {state: count for state, count in sizes.items() if count}


def _sizes(client: Client, tenants: Sequence[str], states: Sequence[str]) -> Counter[str]:
    """Return the sizes of the indexes by state, each added up over these tenants."""
    sizes = Counter[str]()
    for part in batched(tenants, _PART):
        names = [(state, tenant) for tenant in part for state in states]
        with client.pipeline(transaction=False) as pipe:
            for state, tenant in names:
                pipe.zcard(keys.jobs_by("state", tenant, state))
            for (state, _), size in zip(names, pipe.execute(), strict=True):
                sizes[state] += size
    return sizes
