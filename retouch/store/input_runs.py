"""Finds the runs of one picture: a tenant's jobs with the same input that were claimed and are still on record."""

from __future__ import annotations

from typing import NamedTuple

from retouch.store import keys
from retouch.store.jobs import JobStore
from retouch.store.records import JobRecord


class InputRuns(NamedTuple):
    """Other jobs with the same picture, newest first. `total` counts all of them; `records` may have fewer."""

    records: list[JobRecord]
    total: int


def other_runs(jobs: JobStore, record: JobRecord, limit: int) -> InputRuns:
    """Return up to `limit` other runs of a job's input picture, or none if no copy of the picture was made."""
    if not record.spec.input:
        return InputRuns([], 0)
    index = keys.jobs_by("input", record.spec.tenant, keys.input_digest(record.spec.input))
    with jobs.client.pipeline(transaction=False) as pipe:
        pipe.zrevrangebyscore(index, "+inf", "-inf", start=0, num=limit + 1, withscores=False).zcard(index).zscore(
            index, record.id
        )
        ids, count, own = pipe.execute()
    others = [job for job in ids if job != record.id][:limit]
    # The index has the start of a digest only.
    same = [one for one in jobs.records(others) if one.spec.input == record.spec.input]
    return InputRuns(same, count - (own is not None))
