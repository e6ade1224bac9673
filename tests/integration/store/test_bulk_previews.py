"""Previews of bulk runs: they count what a run would act on, in few round trips and a bounded time."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

import pytest

from retouch.outcomes import Fail, Ready
from retouch.query import JobQuery
from retouch.store import bulk_chunks, index_walks, job_search, keys
from retouch.store.audit import Actor
from retouch.store.bulk import BulkRequest, Preview, read_request
from retouch.store.bulk_service import BulkService
from retouch.store.job_search import JobSearch, fits
from retouch.store.records import JobRecord
from retouch.sync_async import iterate_sync
from tests.integration.store.test_job_queries import counted
from tests.lane_kit import LEASE_S, RETENTION_S, LaneKit, account

USUAL_MOST = 2
READY = Ready(("https://out.example/a.png",), "7")


def request(action: str, text: str, **more: Any) -> BulkRequest:
    priority = "high" if action == "priority" else None
    return read_request(action, text, priority, more.get("dead", False), time.time(), lambda query: query)


def service(kit: LaneKit) -> BulkService:
    return BulkService(kit.client, retention_s=RETENTION_S, max_charges=USUAL_MOST)


def jobs_in_many_states(kit: LaneKit, draw: random.Random, count: int) -> list[JobRecord]:
    """
    Enqueue jobs of three tenants, move some to later states, and delete the records of some. Return the jobs that still
    have a record.
    """
    for _ in range(count):
        spec: dict[str, Any] = {"tags": draw.choice([{}, {"a": "1"}, {"a": "2", "b": "1"}])}
        if draw.random() < 0.3:
            spec["policy"] = {"max_charges": draw.choice([1, 5])}
        job = kit.new(draw.choice(["acme", "globex", "zoo"]), **spec)
        kit.enqueue(job)
        if draw.random() < 0.2:
            kit.jobs.cancel(job.id)
        elif draw.random() < 0.8 and (claim := kit.jobs.claim(job.id, LEASE_S)) and draw.random() < 0.8:
            kit.jobs.intend(claim)
            kind, checkpoint = draw.choice([("succeeded", READY), ("refused", None), ("unknown", None)])
            kit.jobs.answer(claim, kind, checkpoint)
            kit.jobs.settle(claim, Fail(draw.choice(["spam_filter", "other"]), "no", retryable=True))
        if draw.random() < 0.2 and kit.state(job.id) in ("failed", "cancelled"):
            kit.client.delete(keys.spec("edits", job.id))
    return kit.jobs.records([job for tenant in kit.jobs.tenants() for job in kit.jobs.ids(tenant)])


APPLIES_TO = {
    "cancel": {"queued", "running", "polling", "retrying"},
    "replay": {"failed", "cancelled"},
    "priority": {"queued", "retrying"},
}


def expected(records: Sequence[JobRecord], asked: BulkRequest) -> Preview:
    """Return the preview that follows from the records of all jobs."""
    meant = [one for one in records if fits(asked.query, one) and one.state in APPLIES_TO[asked.action]]
    if asked.action != "replay":
        return Preview(jobs=len(meant))
    others = [one.spec.policy.get("max_charges", USUAL_MOST) for one in meant if not one.resumable]
    return Preview(len(meant), resume_free=len(meant) - len(others), calls_most=sum(others))


@pytest.mark.parametrize("seed", range(3))
def test_a_preview_counts_what_the_records_say(kit: LaneKit, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Previews of random queries over jobs in all states equal what their records say. Entries of indexes are read in many
    batches here, and some of their records are gone.
    """
    monkeypatch.setattr(index_walks, "STEP", 7)
    monkeypatch.setattr(job_search, "STEP", 7)
    monkeypatch.setattr(bulk_chunks, "_PART", 5)
    draw = random.Random(seed)
    records = jobs_in_many_states(kit, draw, 60)
    instants = sorted(record.created_at for record in records)
    terms = {
        "tenant": ["acme", "globex,zoo"],
        "state": ["failed", "queued,running", "running", "retrying,succeeded", "queued", "failed,cancelled"],
        "code": ["spam_filter", "other,spam_filter"],
        "tag": ["a=1", "a=1,b=1", "b=1"],
        "cost": [">0", "0", "<5"],
        "account": ["default"],
        "until": [f"{instants[40]:.6f}"],
        "id": [",".join(record.id for record in records[5:25])],
    }
    bulk = service(kit)
    for _ in range(20):
        names = draw.sample(sorted(terms), draw.randrange(4))
        text = " ".join(["since:1d", *(f"{name}:{draw.choice(terms[name])}" for name in names)])
        for action in APPLIES_TO:
            asked = request(action, text)
            assert bulk.preview(asked) == expected(records, asked), (action, text)
    for record in records:
        kit.jobs.cancel(record.id)


def test_a_bound_of_its_own_is_that_of_the_policy(kit: LaneKit) -> None:
    """Only `max_charges` of the policy counts: not a parameter of the endpoint or a tag with this name."""
    kit.lanes.pause()
    tagged, own, extra = kit.new(tags={"max_charges": "9"}), kit.new(policy={"max_charges": 3}), kit.new()
    with_extra = extra.spec_json.replace('"prompt"', '"extra":{"max_charges":9},"prompt"')
    assert with_extra != extra.spec_json
    made = [tagged, own, extra._replace(spec_json=with_extra)]
    kit.enqueue(*made)
    for job in made:
        kit.jobs.cancel(job.id)
    assert service(kit).preview(request("replay", "since:1d")).calls_most == USUAL_MOST + 3 + USUAL_MOST


def test_the_highest_price_counts(kit: LaneKit) -> None:
    """
    The most that a replay may cost is counted at the highest price of any account that may take the jobs. With an
    accounts file, these are the shared accounts and the tenant's own. Without one, the price of the settings counts.
    """
    kit.lanes.pause()
    made = [kit.new(), kit.new("globex")]
    kit.enqueue(*made)
    for job in made:
        kit.jobs.cancel(job.id)
    bulk = BulkService(kit.client, retention_s=RETENTION_S, max_charges=USUAL_MOST, price_per_call=0.04)
    assert bulk.preview(request("replay", "since:1d")).amount_most == 4 * 0.04
    own = account("own", price_per_call=0.5, tenants=("globex",))
    kit.open_accounts(account("cheap", price_per_call=0.01), account("dear", price_per_call=0.1), own)
    asked = [request("replay", text) for text in ("since:1d", "tenant:acme", "tenant:globex")]
    assert [bulk.preview(one).amount_most for one in asked] == [4 * 0.5, 2 * 0.1, 2 * 0.5]


def test_thousands_of_jobs_cost_few_round_trips(kit: LaneKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview of 2,500 jobs of 25 tenants takes a round trip for each hundred jobs, and few others."""
    kit.lanes.pause()
    made = [kit.new(f"t{number % 25}") for number in range(2_500)]
    kit.enqueue(*made)
    bulk = service(kit)
    with counted(monkeypatch) as trips:
        preview = bulk.preview(request("cancel", "state:queued"))
    assert preview == Preview(jobs=2_500)
    assert len(trips) <= 25 + 10
    for job in made:
        kit.jobs.cancel(job.id)


def test_counting_stops_in_time(kit: LaneKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time of a preview is over, it returns what it has counted so far, and says that it is not complete."""
    kit.lanes.pause()
    made = [kit.new() for _ in range(250)]
    kit.enqueue(*made)
    monkeypatch.setattr(bulk_chunks, "PREVIEW_MOST_S", 0.0)
    assert service(kit).preview(request("cancel", "state:queued")) == Preview(jobs=100, is_complete=False)
    monkeypatch.undo()
    monkeypatch.setattr(bulk_chunks, "PREVIEW_MOST", 200)
    assert service(kit).preview(request("cancel", "state:queued")) == Preview(jobs=200, is_complete=False)
    for job in made:
        kit.jobs.cancel(job.id)


def test_every_id_is_there_once(kit: LaneKit) -> None:
    """A job that is in two indexes of the same field is counted once."""
    kit.lanes.pause()
    made = [kit.new(tags={"a": "1", "b": "1"}) for _ in range(5)]
    kit.enqueue(*made)
    assert service(kit).preview(request("cancel", "tag:a=1,b=1")).jobs == 5
    found = [job for ids in iterate_sync(JobSearch(kit.jobs).every_id(JobQuery())) for job in ids]
    assert sorted(found) == sorted(job.id for job in made)
    for job in made:
        kit.jobs.cancel(job.id)


def test_a_chunk_may_have_thousands_of_deliveries(kit: LaneKit) -> None:
    """A hundred jobs may have more deliveries than one command or `unpack` of Lua can take; all are in the chunk."""
    bulk = service(kit)
    run = bulk.start(request("redeliver", "since:1d"), Actor("cli"), "acme")
    taken = bulk.store.take(LEASE_S)
    assert taken is not None
    items = [f"dl_{number}" for number in range(20_000)]
    assert bulk.store.plan(taken, 100, items, None) == "ok"
    assert kit.client.lrange(f"rt:bulk:chunk:{run.id}", 0, -1) == items
    assert bulk.store.abort(run.id, Actor("cli")) == "aborted"
