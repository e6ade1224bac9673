"""The query language on real records: by receiver, cost, account and id, with few round trips, on each surface."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis.connection import Connection

from retouch import Edit, EditQueue, InvalidQuery
from retouch.outcomes import AccountRefused, Fail, Stored
from retouch.query import JobQuery, parse_query
from retouch.store import keys
from retouch.store.blob_retention import trim_indexes
from retouch.store.job_search import JobPage, JobSearch, fits
from tests.account_kit import post, refuse, settle
from tests.command_line import typed
from tests.gateway_process import Callers, problem
from tests.lane_kit import IMAGE, LEASE_S, LaneKit, account

EDIT = Edit(prompt="a planted prompt", init_image="https://example.com/in.png")
NOW = 2e9


def found(kit: LaneKit, text: str, limit: int = 1_000) -> list[str]:
    """Return the ids of the jobs that match a query, newest first."""
    return [record.id for record in JobSearch(kit.jobs).page(parse_query(text, NOW), limit).records]


def with_charges(kit: LaneKit, *kinds: str, **spec: Any) -> str:
    """
    Return the id of a failed job with one POST for each kind of answer in `kinds`. An empty kind means that no answer
    came.
    """
    job = kit.new(**spec)
    kit.enqueue(job)
    for place, kind in enumerate(kinds or ("refused",)):
        claim = kit.claim(job.id)
        assert kit.jobs.intend(claim) == "ok"
        if kind:
            kit.jobs.answer(claim, kind, None)
        kit.jobs.settle(claim, Fail("spam_filter", "no", retryable=True))
        if place < len(kinds) - 1:
            kit.jobs.replay(job.id)
    return job.id


def test_jobs_by_what_they_cost(kit: LaneKit) -> None:
    """
    `cost:` counts the POSTs that may have been charged. This includes a POST with a lost answer, and excludes a refused
    POST.
    """
    free, one, two = with_charges(kit), with_charges(kit, "succeeded"), with_charges(kit, "", "succeeded")
    assert found(kit, "cost:>1") == [two]
    assert found(kit, "cost:>0") == [two, one]
    assert found(kit, "cost:0,2") == [two, free]
    assert found(kit, "cost:>=1 cost:<=1 state:failed") == [one]


def test_jobs_by_receiver(kit: LaneKit, client: Any) -> None:
    """`receiver:` finds exactly the jobs that named the receiver and the jobs with a delivery to the receiver."""
    named, every = kit.receivers.ensure("acme", "https://a.example/1"), kit.receivers.add("acme", "https://a.example/2")
    waiting = kit.new(receivers=(named.id,))
    ended, other = kit.new(receivers=(named.id,)), kit.new()
    kit.enqueue(waiting, ended, other)
    kit.jobs.cancel(ended.id)
    assert found(kit, f"receiver:{named.id}") == [ended.id, waiting.id]
    assert found(kit, f"receiver:{every.id}") == [ended.id]
    assert found(kit, f"receiver:{every.id},{named.id} state:queued tenant:acme") == [waiting.id]
    assert found(kit, f"receiver:{every.id} tenant:globex") == []
    kit.jobs.cancel(waiting.id)
    client.delete(*(keys.spec("edits", job) for job in (waiting.id, ended.id)))
    for name in client.scan_iter("rt:job*"):
        for member in client.zrange(name, 0, -1):
            client.zadd(name, {member: 1.0})
    trim_indexes(client, 3_600.0)
    assert list(client.scan_iter("rt:jobs_by_receiver:*")) == []
    assert client.zrange(keys.jobs("acme"), 0, -1) == [other.id]


def test_jobs_by_account(kit: LaneKit, client: Any) -> None:
    """
    `account:default` also finds the jobs without a recorded account. A job that moved is found by its new account only.
    """
    first, second = kit.new(), kit.new()
    kit.enqueue(first)
    kit.open_accounts(account("default", 1), account("b", 1))
    kit.enqueue(second)
    assert found(kit, "account:b") == [second.id]
    assert found(kit, "account:default") == [first.id]
    assert found(kit, "account:default,b tenant:acme") == [second.id, first.id]
    refuse(kit, post(kit, second.id), AccountRefused("bad_key", "no"), "closed bad_key")
    settle(kit, post(kit, first.id), Stored(IMAGE))
    kit.rescue()
    assert kit.dispatched() == [second.id]
    assert found(kit, "account:b") == []
    assert found(kit, "account:default") == [second.id, first.id]


def test_one_of_many_by_account_is_looked_at_alone(kit: LaneKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If one of 2,000 jobs is of account `b`, `account:b` finds this job and reads only one entry. `default` has no index,
    so a page of `account:default` ends after a bounded number of entries.
    """
    kit.open_accounts(account("default", 1, tier=1), account("b", 1, tier=2))
    kit.enqueue(*(kit.new() for _ in range(2_000)))
    with counted(monkeypatch) as trips:
        page = JobSearch(kit.jobs).page(parse_query("account:b", NOW), 50)
    assert (len(page.records), page.looked_at) == (1, 1)
    assert len(trips) <= 7
    monkeypatch.setattr("retouch.store.job_search.UNINDEXED_MOST", 500)
    page = JobSearch(kit.jobs).page(parse_query("account:default cost:>9", NOW), 50)
    assert (page.records, page.looked_at < 1_500, page.following is None) == ([], True, False)


def test_a_full_page_reads_little(kit: LaneKit) -> None:
    """If most entries match, a page of 50 jobs reads at most about 250 entries of the 3,000."""
    kit.lanes.pause()
    kit.enqueue(*(kit.new() for _ in range(3_000)))
    page = JobSearch(kit.jobs).page(parse_query("state:queued", NOW), 50)
    assert len(page.records) == 50
    assert page.looked_at <= 51 * 5


def test_jobs_by_id(kit: LaneKit) -> None:
    """`id:` finds jobs of any tenant if they match the other terms of the query. An unknown id finds nothing."""
    mine, theirs = kit.new(), kit.new("globex", tags={"a": "1"})
    kit.enqueue(mine, theirs)
    named = f"id:{mine.id},{theirs.id},ed_nowhere"
    assert found(kit, named) == [theirs.id, mine.id]
    assert found(kit, f"{named} tag:a=1") == [theirs.id]
    assert found(kit, f"{named} tenant:acme") == [mine.id]
    assert found(kit, f"{named} state:failed") == found(kit, "id:ed_nowhere") == []


@pytest.mark.parametrize("seed", range(3))
def test_any_query_lists_what_fits(kit: LaneKit, seed: int) -> None:
    """Random queries over jobs of three tenants list exactly the matching records, page by page."""
    draw = random.Random(seed)
    receivers = [kit.receivers.ensure("acme", f"https://a.example/{number}").id for number in range(2)]
    for _ in range(40):
        tenant = draw.choice(["acme", "globex", "zoo"])
        spec: dict[str, Any] = {"tags": draw.choice([{}, {"a": "1"}, {"a": "2", "b": "1"}])}
        if tenant == "acme":
            spec["receivers"] = tuple(draw.sample(receivers, draw.randrange(3)))
        job = kit.new(tenant, **spec)
        kit.enqueue(job)
        if draw.random() < 0.5 and (claim := kit.jobs.claim(job.id, LEASE_S)) and draw.random() < 0.8:
            kit.jobs.intend(claim)
            kit.jobs.answer(claim, draw.choice(["succeeded", "refused", "unknown"]), None)
            kit.jobs.settle(claim, Fail(draw.choice(["spam_filter", "other"]), "no", retryable=True))
    records = kit.jobs.records([job for tenant in kit.jobs.tenants() for job in kit.jobs.ids(tenant)])
    instants = sorted(record.created_at for record in records)
    terms = {
        "tenant": ["acme", "globex,zoo"],
        "state": ["failed", "queued,running", "running", "retrying,succeeded"],
        "code": ["spam_filter", "other,spam_filter"],
        "tag": ["a=1", "a=1,b=1", "b=1"],
        "cost": [">0", "0", "<5"],
        "receiver": [receivers[0], ",".join(receivers)],
        "since": [f"{instants[10]:.6f}"],
        "until": [f"{instants[30]:.6f}"],
        "id": [",".join(record.id for record in records[5:15])],
    }
    for _ in range(80):
        names = draw.sample(sorted(terms), draw.randrange(4))
        query = parse_query(" ".join(f"{name}:{draw.choice(terms[name])}" for name in names), NOW)
        expected = {one.id for one in records if fits(query, one)}
        if query.receivers:
            expected &= {one.id for one in records if set(one.spec.receivers) & set(query.receivers)}
        assert walked(kit, query) == [one.id for one in newest_first(records) if one.id in expected], str(query)


def newest_first(records: list[Any]) -> list[Any]:
    return sorted(records, key=lambda one: (one.created_at, one.id), reverse=True)


def walked(kit: LaneKit, query: JobQuery) -> list[str]:
    search, jobs, page = JobSearch(kit.jobs), list[str](), JobPage([], None)
    while True:
        page = search.page(query, 7, page.following)
        jobs += [record.id for record in page.records]
        if page.following is None:
            return jobs


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Context manager that yields a list with one entry for each round trip to Redis during the block."""
    trips = list[int]()
    send: Any = Connection.send_packed_command
    with monkeypatch.context() as patch:

        def noted(self: Connection, command: Any, check_health: bool = True) -> None:
            trips.append(1)
            send(self, command, check_health)

        patch.setattr(Connection, "send_packed_command", noted)
        yield trips


@pytest.mark.parametrize("text", ["state:cancelled", "tag:rare=1", "tag:a=1 state:cancelled", "tenant:acme tag:rare=1"])
def test_three_of_many_cost_few_round_trips(kit: LaneKit, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three jobs among 10,000 of 20 tenants are found with at most seven round trips, by state, by tag, and by both."""
    for tenant in [*(f"t{number}" for number in range(19)), "acme"]:
        kit.enqueue(*(kit.new(tenant, tags={"a": "1"}) for _ in range(500)))
    rare = [kit.new(tags={"a": "1", "rare": "1"}) for _ in range(3)]
    kit.enqueue(*rare)
    for job in rare:
        kit.jobs.cancel(job.id)
    with counted(monkeypatch) as trips:
        page = JobSearch(kit.jobs).page(parse_query(text, NOW), 50)
    assert [record.id for record in page.records] == [job.id for job in reversed(rare)]
    assert len(trips) <= 7
    assert page.looked_at == 3


def test_the_newest_jobs_of_all_cost_no_look_at_each_tenant(kit: LaneKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If each of 300 tenants has one job, a page of the newest 50 reads fewer than 100 entries, in at most six round
    trips.
    """
    made = [kit.new(f"t{number}") for number in range(300)]
    for job in made:
        kit.enqueue(job)
    newest = [job.id for job in reversed(made)]
    with counted(monkeypatch) as trips:
        page = JobSearch(kit.jobs).page(JobQuery(), 50)
    assert [record.id for record in page.records] == newest[:50]
    assert len(trips) <= 6
    assert 51 <= page.looked_at < 100
    following = JobSearch(kit.jobs).page(JobQuery(), 50, page.following)
    assert [record.id for record in following.records] == newest[50:100]


def test_everybodys_jobs_are_listed_once(kit: LaneKit) -> None:
    """Pages over the jobs of many tenants list each job once. A tenant with only expired jobs does not end the list."""
    together = [kit.new(f"t{number % 40}") for number in range(120)]
    kit.enqueue(*together)
    single = [kit.new(f"s{number % 7}") for number in range(60)]
    for job in single:
        kit.enqueue(job)
    gone = [kit.new(f"gone{number}") for number in range(30)]
    kit.enqueue(*gone)
    kit.client.delete(*(keys.jobs(job.tenant) for job in gone))
    listed, after = list[str](), None
    while True:
        page = JobSearch(kit.jobs).page(JobQuery(), 17, after)
        listed += [record.id for record in page.records]
        after = page.following
        if after is None:
            break
    assert sorted(listed) == sorted(job.id for job in together + single)
    assert listed[: len(single)] == [job.id for job in reversed(single)]


def test_a_field_without_an_index_says_how_much_was_looked_at(kit: LaneKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    For a query by cost, each page reads a bounded number of entries and returns this number. The next page continues
    after these entries.
    """
    monkeypatch.setattr("retouch.store.job_search.UNINDEXED_MOST", 100)
    monkeypatch.setattr("retouch.store.job_search.STEP", 50)
    costly = with_charges(kit, "succeeded")
    kit.enqueue(*(kit.new() for _ in range(250)))
    search, pages, after = JobSearch(kit.jobs), list[JobPage](), None
    while not pages or after is not None:
        pages.append(search.page(parse_query("cost:>0", NOW), 5, after))
        after = pages[-1].following
    assert sum(page.looked_at for page in pages) == 251
    assert all(100 <= page.looked_at <= 150 for page in pages[:-1])
    assert [record.id for page in pages for record in page.records] == [costly]


def test_queries_over_http(callers: Callers, edit_body: Callable[..., Any], client: Any) -> None:
    """
    `q` can be combined with other filters, and lists only jobs that the caller may see. A wrong query is answered 422
    with the position of each fault.
    """
    api, stranger, ops = callers(), callers("globex"), callers("staff", "ops")
    ops.post("/v1/pause")
    mine = [api.post("/v1/edits", edit_body(tags={"order": str(at)})).json()["id"] for at in range(3)]
    theirs = stranger.post("/v1/edits", edit_body(tags={"order": "1"})).json()["id"]
    api.post(f"/v1/edits/{mine[1]}/cancel")

    def listed(caller: Any, q: str, **more: Any) -> list[str]:
        answer = caller.get("/v1/edits", params={"q": q, **more})
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["data"]]

    assert listed(api, "state:cancelled tag:order=1,2") == [mine[1]]
    assert listed(api, "tag:order=1") == [mine[1]]
    assert listed(ops, "tag:order=1") == [theirs, mine[1]]
    assert listed(ops, "tag:order=1 tenant:globex") == listed(ops, "tag:order=1", tenant="globex") == [theirs]
    assert listed(api, "since:1h", state="queued") == [mine[2], mine[0]]
    assert listed(api, f"id:{mine[0]},{theirs}") == [mine[0]]
    assert listed(ops, "cost:0 since:1h", id=[mine[0], theirs]) == [theirs, mine[0]]
    assert api.get("/v1/edits", params={"q": "cost:>0"}).json()["looked_at"] == 3
    wrong = problem(api.get("/v1/edits", params={"q": "state:queued stat:x cost:y"}), "invalid-request", 422)
    assert [fault["field"] for fault in wrong["faults"]] == ["q", "q"]
    assert "at 14, 'stat:x'" in wrong["faults"][0]["message"]
    problem(api.get("/v1/edits", params={"q": "tenant:globex"}), "not-found", 404)
    problem(api.get("/v1/edits", params={"q": "state:failed", "state": "failed"}), "invalid-request", 422)
    ops.post("/v1/resume")


def test_queries_in_python_and_on_the_command_line(queue: EditQueue) -> None:
    """The same query finds the same jobs in `queue.jobs(…)` and in `retouch jobs …`. Both refuse a wrong query."""
    jobs = [queue.enqueue(EDIT, tenant=tenant, tags={"n": str(at)}) for at, tenant in enumerate(["default", "acme"])]
    jobs[0].cancel()
    assert [job.id for job in queue.jobs("state:cancelled since:1h")] == [jobs[0].id]
    assert [job.id for job in queue.jobs(query="tag:n=0,1", tenant=None)] == [jobs[1].id, jobs[0].id]
    assert [job.id for job in queue.jobs("tenant:acme")] == [jobs[1].id]
    assert [job.id for job in queue.jobs("cancelled", query="tag:n=0")] == [jobs[0].id]
    with pytest.raises(InvalidQuery, match="at 1, 'stat:x'"):
        list(queue.jobs("stat:x"))
    listed = typed("jobs", "tag:n=1 since:1h", "--json")
    assert [one["id"] for one in json.loads(listed.out)] == [jobs[1].id]
    assert listed.err == ""
    looked = typed("jobs", "cost:0", "--tenant", "acme", "--json")
    assert [one["id"] for one in json.loads(looked.out)] == [jobs[1].id]
    assert looked.err == "retouch: looked at 1 jobs, as cost: has no index\n"
    wrong = typed("jobs", "state:faild")
    assert (wrong.code, "did you mean failed?" in wrong.err) == (2, True)
    jobs[1].cancel()
