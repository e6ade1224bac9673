"""The records that `retouch bench million` writes, as the stores read them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis import Redis

from retouch.query import parse_query
from retouch.states import JobState
from retouch.store.job_search import JobSearch
from retouch.store.jobs import JobStore
from retouch.store.receivers import ReceiverStore
from retouch_ops.bench import seeding


def test_seeded_records_are_those_that_the_stores_read(
    client: Any, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 2,000 jobs are seeded, a search finds three jobs by a rare code, and receivers are listed in pages."""
    monkeypatch.setattr(seeding, "CROWD", 1_000)
    monkeypatch.setattr(seeding, "AUDIT_LINES", 1_000)
    with Redis.from_url(redis_url, decode_responses=True) as plain:
        assert list(seeding.seed(client, plain, 2_000)) == [0, 2_000]
        jobs = JobSearch(JobStore(client, retention_s=60.0)).page(parse_query("code:rare", time.time()), 10).records
        assert {job.state for job in jobs} == {JobState.FAILED}
        assert len(jobs) == 3
        page, following = ReceiverStore(client).page(seeding.CROWDED, 100)
        assert (len(page), bool(following)) == (100, True)
        assert {receiver.tenant for receiver in page} == {seeding.CROWDED}
        plain.flushdb()
