"""
Tests of lists of jobs by state, code, tag, tenant and time. Scripts write the indexes, and pages are read from them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from retouch.outcomes import Cancel, Decision, Fail, Ready, Retry, Succeed
from retouch.query import JobQuery
from retouch.store import keys
from retouch.store.blob_retention import trim_indexes
from retouch.store.job_search import JobSearch, fits
from retouch.store.pagination import IndexCursor
from retouch.store.records import JobRecord
from tests.gateway_process import Api, Callers
from tests.lane_kit import IMAGE, LEASE_S, LaneKit

READY = Ready(("https://out.example/a.png",), "7")
STATES = ("queued", "running", "polling", "retrying", "succeeded", "failed", "cancelled")


def failed(code: str) -> Fail:
    return Fail(code, "no", retryable=True)


def listed(kit: LaneKit, query: JobQuery, limit: int = 3) -> list[str]:
    """Read all pages of a query, and return the ids of its jobs. Assert that each page before the last is full."""
    search, found, after = JobSearch(kit.jobs), list[str](), None
    while True:
        page = search.page(query, limit, after)
        found += [record.id for record in page.records]
        after = page.following
        if after is None:
            assert page.records or not found
            return found
        assert len(page.records) == limit


def newest_first(records: list[JobRecord]) -> list[str]:
    return [one.id for one in sorted(records, key=lambda one: (one.created_at, one.id), reverse=True)]


@pytest.mark.parametrize("seed", range(6))
def test_lists_agree_with_the_records_after_any_moves(kit: LaneKit, client: Any, seed: int) -> None:
    """After hundreds of random moves, each filter, alone or with others, lists exactly the matching records."""
    draw, jobs = random.Random(seed), list[str]()
    for _ in range(250):
        _move(kit, draw, jobs)
    records = kit.jobs.records(jobs)
    queries = [JobQuery(tenants) for tenants in (("acme",), ("acme", "globex"), ("none",), ())]
    queries += [
        JobQuery(tenants, states=states, tags=tags, codes=codes)
        for tenants in (("acme", "globex"), ())
        for states in ((), *((state,) for state in STATES), ("running", "failed"), ("queued", "retrying", "succeeded"))
        for tags in ((), ((("a", "1"),),), ((("b", "x y"),),), ((("a", "1"), ("a", "2")), (("b", "x y"),)))
        for codes in ((), ("spam_filter",), ("other", "spam_filter"))
    ]
    middle = sorted(record.created_at for record in records)[len(records) // 2]
    queries += [JobQuery(("acme",), since=middle), JobQuery(("acme",), until=middle, states=("queued",))]
    for query in queries:
        fit = [one for one in records if fits(query, one) and query.since <= one.created_at < query.until]
        assert listed(kit, query) == newest_first(fit), query


def _move(kit: LaneKit, draw: random.Random, jobs: list[str]) -> None:
    """Make one random move of a random job, as workers, users and rescue do."""
    dispatched = kit.dispatched()
    match draw.randrange(8):
        case 0 | 1:
            batch = [
                kit.new(draw.choice(["acme", "globex"]), tags=draw.choice([{}, {"a": "1"}, {"a": "2", "b": "x y"}]))
                for _ in range(draw.randrange(1, 5))
            ]
            kit.enqueue(*batch)
            jobs += [one.id for one in batch]
        case 2 | 3 | 4 if dispatched and (claim := kit.jobs.claim(draw.choice(dispatched), LEASE_S)):
            if draw.random() < 0.2:
                return
            ends: list[Decision] = [
                Succeed(IMAGE),
                failed("spam_filter"),
                failed("other"),
                Retry(9.0, "queue_full", "later"),
                Cancel(),
            ]
            late = draw.random() < 0.3 and kit.jobs.intend(claim) == "ok"
            kit.jobs.settle(claim, draw.choice(ends))
            if late:
                kit.jobs.answer(claim, "succeeded", READY)
        case 5 if jobs:
            kit.jobs.cancel(draw.choice(jobs))
        case 6 if jobs:
            kit.jobs.replay(draw.choice(jobs))
        case 7:
            kit.make_due("edits", draw.choice(["timetable", "slots"]))
            kit.rescue()


def test_a_list_costs_what_it_shows(kit: LaneKit, client: Any) -> None:
    """A query by state or tag that matches few of thousands of jobs takes few Redis commands."""
    kit.enqueue(*(kit.new(tags={"a": "1"}) for _ in range(3_000)))
    job = kit.new()
    kit.enqueue(job)
    kit.jobs.cancel(job.id)
    client.config_resetstat()
    assert listed(kit, JobQuery(("acme",), states=("cancelled",))) == [job.id]
    assert listed(kit, JobQuery(("acme",), states=("failed",))) == []
    assert listed(kit, JobQuery(("acme",), states=("cancelled",), tags=((("a", "1"),),))) == []
    assert listed(kit, JobQuery(("acme",), states=("running",))) == []
    assert sum(one["calls"] for one in client.info("commandstats").values()) < 60


def test_entries_of_one_instant_are_neither_skipped_nor_repeated(kit: LaneKit) -> None:
    """Two thousand jobs that share a few instants are listed once each, with small and large pages."""
    made = [kit.new() for _ in range(2_000)]
    kit.enqueue(*made)
    for limit in (7, 1_000):
        assert listed(kit, JobQuery(("acme",)), limit) == newest_first(kit.jobs.records([one.id for one in made]))


def test_a_page_that_looks_at_too_much_makes_progress(kit: LaneKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    When two large indexes have no job in common, each page ends at its bound without a job. The cursors lead to the end
    of the list.
    """
    monkeypatch.setattr("retouch.store.job_search.CANDIDATES_MOST", 100)
    monkeypatch.setattr("retouch.store.job_search.STEP", 100)
    # The jobs of one script share an instant, which decides where a page ends: here a hundred jobs share one.
    weight = 5 + kit.new(tags={"a": "1"}).spec_json.count('":"')
    monkeypatch.setattr("retouch.store.jobs._WORK_MOST", 100 * weight)
    for _ in range(3):
        kit.enqueue(*(kit.new(tags={"a": "1"}) for _ in range(100)), *(kit.new(tags={"b": "1"}) for _ in range(100)))
    for job in kit.jobs.ids("acme"):
        if "b" in kit.jobs.records([job])[0].spec.tags:
            kit.jobs.cancel(job)
    query, cursors = JobQuery(("acme",), states=("cancelled",), tags=((("a", "1"),),)), list[IndexCursor]()
    page = JobSearch(kit.jobs).page(query, 5)
    while page.following is not None:
        cursors.append(page.following)
        page = JobSearch(kit.jobs).page(query, 5, page.following)
        assert page.records == []
    assert cursors == sorted(set(cursors), reverse=True)
    assert len(cursors) == 3


def test_retention_trims_the_indexes_and_their_list(kit: LaneKit, client: Any) -> None:
    """
    Retention deletes the entries of expired jobs from all indexes, and deletes empty indexes from the list of indexes.
    """
    old, new = kit.new(tags={"a": "1", "b": "2"}), kit.new(tags={"a": "1"})
    kit.enqueue(old, new)
    kit.finish(old.id, failed("spam_filter"))
    client.delete(keys.spec("edits", old.id), keys.state("edits", old.id), keys.timeline(old.id))
    for name in client.scan_iter("rt:jobs*"):
        client.zadd(name, {old.id: 1.0}, xx=True)
    for index in client.zrange(keys.job_indexes("acme"), 0, -1):
        client.zadd(keys.job_indexes("acme"), {index: 1.0})
    trim_indexes(client, 3_600.0)
    left = {name for name in client.scan_iter("rt:job*") if not name.startswith("rt:jobs:")}
    by_state, by_tag = keys.jobs_by("state", "acme", "open"), keys.jobs_by("tag", "acme", "a=1")
    assert left == {by_state, by_tag, keys.job_indexes("acme")}
    assert client.zrange(keys.job_indexes("acme"), 0, -1) == [by_tag]
    assert client.zrange(keys.jobs_by("tag", "acme", "a=1"), 0, -1) == [new.id]


def test_retention_looks_at_few_indexes_in_one_minute(
    kit: LaneKit, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Each minute, retention checks a bounded number of a tenant's indexes. It begins with the indexes whose last check is
    oldest.
    """
    monkeypatch.setattr("retouch.store.blob_retention._INDEXES_MOST", 3)
    kit.enqueue(kit.new(tags={f"t{number}": "x" for number in range(8)}))
    own = keys.job_indexes("acme")
    made_at = dict(client.zrange(own, 0, -1, withscores=True))
    trim_indexes(client, 3_600.0)
    assert dict(client.zrange(own, 0, -1, withscores=True)) == made_at, "they are new: none can have expired entries"
    for index in made_at:
        client.zadd(own, {index: float(index[-3])})
    looked_at: list[set[str]] = []
    for _ in range(3):
        client.delete(keys.TRIMMED)
        trim_indexes(client, 3_600.0)
        looked_at.append({index for index, score in client.zrange(own, 0, -1, withscores=True) if score > 100.0})
    assert [len(names) for names in looked_at] == [3, 6, 8]


def test_lists_over_http(callers: Callers, client: Any, edit_body: Callable[..., Any]) -> None:
    """
    A list over HTTP can be narrowed by state, code, tag and time. Each page is full or the last, and has only jobs that
    the caller may see.
    """
    api, stranger, ops = callers(), callers("globex"), callers("staff", "ops")
    ops.post("/v1/pause")
    try:
        made = [api.post("/v1/edits", edit_body(tags={"order": str(at % 2)})).json() for at in range(6)]
        for one in made[:3]:
            api.post(f"/v1/edits/{one['id']}/cancel")
        assert _walked(api, state="cancelled", limit=2) == [one["id"] for one in reversed(made[:3])]
        assert _walked(api, state="queued", tag="order=1", limit=1) == [made[5]["id"], made[3]["id"]]
        assert _walked(ops, state="cancelled", tag="order=1") == [made[1]["id"]]
        assert _walked(api, code="spam_filter") == _walked(api, state="failed") == []
        assert _walked(api, until=api.get(f"/v1/edits/{made[0]['id']}").json()["created_at"], since="2026-01-01") == []
        assert _walked(stranger, tag="order=1") == []
    finally:
        ops.post("/v1/resume")


def _walked(api: Api, **query: Any) -> list[str]:
    return [one["id"] for page in _pages(api, query) for one in page]


def _pages(api: Api, query: dict[str, Any]) -> Iterator[list[Any]]:
    cursor = None
    while True:
        page = api.get("/v1/edits", params={**query, **({"cursor": cursor} if cursor else {})}).json()
        yield page["data"]
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)
        if cursor is None:
            return
        assert len(page["data"]) == query["limit"]
