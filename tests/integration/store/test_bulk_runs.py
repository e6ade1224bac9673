"""Tests of bulk runs: previews, exact counts after lost leases and aborts, frozen queries, and bounds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from retouch import Edit, IdempotencyConflict, InvalidEdit, QueueFull, Settings
from retouch.outcomes import Fail, Ready, Retry
from retouch.publisher import Publisher
from retouch.query import JobQuery, parse_query
from retouch.store import keys
from retouch.store.audit import Actor
from retouch.store.bulk import ITEMS_AT_ONCE, BulkRequest, BulkRun, read_request
from retouch.store.bulk_service import BulkService
from retouch.store.jobs import PRIORITY_BOOST_S
from retouch.store.scripts import source
from retouch_worker.bulk import BulkRunner
from tests.lane_kit import RETENTION_S, LaneKit, assert_consistent

ACTOR = Actor("cli")
EDIT = Edit(prompt="a planted prompt", init_image="https://example.com/in.png")
READY = Ready(("https://out.example/a.png",), "7")


class Bulk:
    """The service and the runner of bulk runs. The test calls each turn of the runner."""

    def __init__(self, kit: LaneKit, publisher: Publisher) -> None:
        self.service = BulkService(kit.client, retention_s=RETENTION_S, max_charges=2)
        self.store = self.service.store
        self.runner = BulkRunner(self.store, self.service._chunks, publisher, RETENTION_S)

    def start(self, action: str, text: str, key: str = "", **more: Any) -> BulkRun:
        return self.service.start(request(action, text, **more), ACTOR, "acme", key)

    def finish(self, run: BulkRun) -> BulkRun:
        while not self.now(run).is_over:
            assert self.runner.turn()
        return self.now(run)

    def now(self, run: BulkRun) -> BulkRun:
        found = self.store.find(run.id)
        assert found is not None
        return found


def request(action: str, text: str, priority: str | None = None, dead: bool = False) -> BulkRequest:
    return read_request(action, text, priority, dead, time.time(), lambda query: query)


@pytest.fixture
def bulk(kit: LaneKit, redis_url: str) -> Iterator[Bulk]:
    publisher = Publisher(Settings.load(redis_url=redis_url))
    yield Bulk(kit, publisher)
    publisher.close()


def dead_letters(kit: LaneKit, count: int, *, paid: int = 0, **spec: Any) -> list[str]:
    """Create failed jobs and return their ids. The first `paid` jobs have a paid answer."""
    made = [kit.new(**spec) for _ in range(count)]
    for place, job in enumerate(made):
        kit.enqueue(job)
        claim = kit.claim(job.id)
        assert kit.jobs.intend(claim) == "ok"
        kit.jobs.answer(claim, "succeeded" if place < paid else "refused", READY if place < paid else None)
        kit.jobs.settle(claim, Fail("deadline_passed" if place < paid else "spam_filter", "no", retryable=True))
    return [job.id for job in made]


def test_a_replay_does_what_its_preview_said(kit: LaneKit, bulk: Bulk) -> None:
    """
    A run replays exactly the jobs that its preview counted. The preview also says how many jobs resume without a call,
    and how many calls the other jobs make at most.
    """
    jobs = dead_letters(kit, 230, paid=30)
    dead_letters(kit, 3, tenant="globex")
    kit.lanes.pause()
    wanted = request("replay", "tenant:acme state:failed,succeeded")
    preview = bulk.service.preview(wanted)
    assert (preview.jobs, preview.resume_free, preview.calls_most, preview.is_complete) == (230, 30, 400, True)
    run = bulk.start("replay", "tenant:acme state:failed,succeeded")
    assert run.preview == preview
    ended = bulk.finish(run)
    assert (ended.state, ended.matched, ended.outcomes) == ("done", 230, {"replayed": 230})
    assert {kit.state(job) for job in jobs} == {"queued"}
    assert_consistent(kit.client, jobs)


def test_what_comes_later_is_not_meant(kit: LaneKit, bulk: Bulk) -> None:
    """Jobs that are enqueued, or fail, after the start of a run stay as they are."""
    running = kit.new()
    kit.enqueue(running)
    claim = kit.claim(running.id)
    (before,) = dead_letters(kit, 1)
    time.sleep(0.003)  # instants are kept to the millisecond
    run = bulk.start("replay", "code:spam_filter")
    kit.jobs.settle(claim, Fail("spam_filter", "no", retryable=True))
    (after,) = dead_letters(kit, 1)
    kit.lanes.pause()
    assert bulk.finish(run).outcomes == {"newer": 1, "replayed": 1}
    assert [kit.state(job) for job in (before, running.id, after)] == ["queued", "failed", "failed"]


def test_an_abort_counts_right(kit: LaneKit, bulk: Bulk) -> None:
    """An aborted run has counted exactly the jobs that the run cancelled. The other jobs still wait."""
    kit.lanes.pause()
    made = [kit.new() for _ in range(150)]
    kit.enqueue(*made)
    run = bulk.start("cancel", "state:queued")
    taken = bulk.store.take(15.0)
    assert taken is not None
    bulk.runner._plan(taken)
    for _ in range(3):
        assert bulk.runner._move(taken) == "running"
    assert bulk.store.abort(run.id, ACTOR) == "aborted"
    assert bulk.runner._move(taken) == "stale"
    assert bulk.runner.turn() is False
    ended = bulk.now(run)
    assert (ended.state, ended.outcomes) == ("aborted", {"cancelled": 3 * ITEMS_AT_ONCE})
    assert Counter(kit.state(job.id) for job in made) == {"cancelled": 30, "queued": 120}
    assert bulk.store.abort(run.id, ACTOR) == "final"
    assert bulk.store.abort("bk_nowhere", ACTOR) == "unknown"
    kit.jobs.cancel(made[0].id)
    for job in made:
        kit.jobs.cancel(job.id)


def test_a_worker_that_dies_repeats_and_loses_nothing(kit: LaneKit, bulk: Bulk) -> None:
    """
    When a worker dies between two steps of a run, another worker continues the run. Each job is replayed and counted
    once.
    """
    jobs = dead_letters(kit, 120)
    kit.lanes.pause()
    run = bulk.start("replay", "state:failed")
    for _ in range(4):
        taken = bulk.store.take(15.0)
        assert taken is not None
        if not taken.left:
            bulk.runner._plan(taken)
        bulk.runner._move(taken)
        assert bulk.store.take(15.0) is None  # the lease of the dead one
        kit.client.zadd("rt:bulk:open", {run.id: 1.0})
        other = bulk.store.take(15.0)
        assert other is not None
        assert bulk.store.move(taken, 15.0, RETENTION_S)[0] == "stale"
        kit.client.zadd("rt:bulk:open", {run.id: 1.0})
    ended = bulk.finish(run)
    assert (ended.state, ended.outcomes) == ("done", {"replayed": 120})
    assert all(len(kit.jobs.timeline(job)) == len(kit.jobs.timeline(jobs[0])) for job in jobs)


def test_a_tenant_without_room_is_left(kit: LaneKit, bulk: Bulk) -> None:
    """When the tenant's backlog is full, the run counts the remaining jobs as refused. These jobs stay dead letters."""
    jobs = dead_letters(kit, 25)
    kit.lanes.pause()
    kit.client.hset(keys.lane("edits", "backlog_limits"), "acme", 10)
    assert bulk.finish(bulk.start("replay", "state:failed")).outcomes == {"full backlog": 15, "replayed": 10}
    assert Counter(kit.state(job) for job in jobs) == {"queued": 10, "failed": 15}


def test_a_cancel_by_query(kit: LaneKit, bulk: Bulk) -> None:
    """A run cancels waiting jobs at once, and requests the end of running jobs. Ended jobs do not match the query."""
    waiting, running, over = kit.new(), kit.new(), kit.new()
    kit.enqueue(running)
    kit.claim(running.id)
    kit.enqueue(over)
    kit.jobs.cancel(over.id)
    kit.lanes.pause()
    kit.enqueue(waiting)
    ended = bulk.finish(bulk.start("cancel", "tenant:acme"))
    assert (ended.matched, ended.outcomes) == (2, {"cancelled": 1, "requested": 1})
    assert bulk.finish(bulk.start("cancel", "tenant:acme state:failed")).matched == 0


def test_a_redelivery_by_query(kit: LaneKit, bulk: Bulk) -> None:
    """
    A run sends the deliveries of matching jobs again. `receiver:` limits the run to one receiver, and `dead` limits it
    to dead deliveries.
    """
    first, second = (kit.receivers.ensure("acme", f"https://a.example/{number}") for number in range(2))
    jobs = [kit.new(receivers=(first.id, second.id)) for _ in range(3)]
    kit.lanes.pause("deliveries")
    kit.enqueue(*jobs)
    for job in jobs:
        kit.jobs.cancel(job.id)
    assert bulk.service.preview(request("redeliver", f"receiver:{first.id}")).deliveries == 3
    assert bulk.service.preview(request("redeliver", "state:cancelled")).deliveries == 6
    assert bulk.service.preview(request("redeliver", "state:cancelled", dead=True)).deliveries == 0
    item = kit.deliveries.of_job(jobs[0].id)[0].id
    kit.client.hset(keys.state("deliveries", item), "state", "dead")
    ended = bulk.finish(bulk.start("redeliver", f"receiver:{first.id},{second.id}"))
    assert ended.outcomes == {"open": 5, "redelivered": 1}
    for item in kit.client.zrange("rt:deliveries:recent", 0, -1):
        kit.client.delete(keys.spec("deliveries", item), keys.state("deliveries", item))
    kit.client.delete("rt:deliveries:waiting_by_tenant", *kit.client.scan_iter("rt:deliveries:[wab]*:*"))


def test_a_priority_by_query(kit: LaneKit, bulk: Bulk) -> None:
    """
    A waiting job with a new priority moves in the backlog, and the record has the priority. A job with a slot does not
    change.
    """
    dispatched, parked = kit.new(), kit.new()
    kit.enqueue(dispatched, parked)
    kit.jobs.settle(kit.claim(parked.id), Retry(60.0, "queue_full", "later"))
    kit.lanes.pause()
    early, late = kit.new(), kit.new(tags={"a": "1"})
    kit.enqueue(early, late)
    ended = bulk.finish(bulk.start("priority", "tag:a=1", priority="high"))
    assert ended.outcomes == {"changed": 1}
    record = kit.jobs.record(late.id)
    assert record is not None
    assert (record.spec.priority, record.state) == ("high", "queued")
    backlog = kit.client.zrange("rt:edits:backlog:acme", 0, -1, withscores=True)
    assert [job for job, _ in backlog] == [late.id, early.id]
    assert bulk.finish(bulk.start("priority", "tenant:acme", priority="high")).outcomes == {
        "changed": 2,
        "in_flight": 1,
        "same": 1,
    }
    kit.make_due("edits", "timetable")
    kit.rescue()
    assert [job for job, _ in sorted(backlog_of(kit))] == sorted([early.id, late.id, parked.id])
    assert dict(backlog_of(kit))[parked.id] < dict(backlog_of(kit))[early.id]
    assert str({name: int(boost) for name, boost in PRIORITY_BOOST_S.items()})[1:-1].replace("'", "").replace(
        ":", " ="
    ) in source("bulk_move")
    for job in (dispatched, parked, early, late):
        kit.jobs.cancel(job.id)


def backlog_of(kit: LaneKit) -> list[tuple[str, float]]:
    entries: list[tuple[str, float]] = kit.client.zrange("rt:edits:backlog:acme", 0, -1, withscores=True)
    return entries


def test_other_tenants_go_on(kit: LaneKit, bulk: Bulk) -> None:
    """While a run replays hundreds of jobs of one tenant, a job of another tenant gets the next free slot."""
    dead_letters(kit, 300)
    run = bulk.start("replay", "tenant:acme")
    taken = bulk.store.take(15.0)
    assert taken is not None
    bulk.runner._plan(taken)
    bulk.runner._move(taken)
    other = kit.new("globex")
    kit.enqueue(other)
    kit.finish(kit.dispatched()[0], Fail("other", "no", retryable=False))
    kit.finish(kit.dispatched()[0], Fail("other", "no", retryable=False))
    assert other.id in kit.dispatched()
    kit.client.zadd("rt:bulk:open", {run.id: 1.0})
    bulk.finish(run)


def test_runs_take_turns(kit: LaneKit, bulk: Bulk) -> None:
    """After a turn of one run, the next turn belongs to another waiting run."""
    kit.lanes.pause()
    first, second = bulk.start("cancel", "state:queued tag:a=1"), bulk.start("cancel", "state:queued tag:a=2")
    taken = bulk.store.take(15.0)
    assert taken is not None
    assert taken.id == first.id
    bulk.store.release(taken)
    again = bulk.store.take(15.0)
    assert again is not None
    assert again.id == second.id
    for run in (first, second):
        bulk.store.abort(run.id, ACTOR)


def test_bounds_of_a_tenant(kit: LaneKit, bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A tenant may have five open runs, and the oldest ended runs are deleted. A repeated key returns the earlier run.
    With another request, the key raises IdempotencyConflict.
    """
    runs = list[BulkRun]()
    for number in range(5):
        runs.append(bulk.start("cancel", "state:queued", key=f"k{number}"))
        time.sleep(0.003)  # the history is in the order of instants, which are kept to the millisecond
    with pytest.raises(QueueFull):
        bulk.start("cancel", "state:queued")
    assert bulk.start("cancel", "state:queued", key="k3").id == runs[3].id
    with pytest.raises(IdempotencyConflict):
        bulk.start("replay", "state:failed", key="k3")
    for run in runs:
        bulk.finish(run)
    monkeypatch.setattr("retouch.store.bulk.KEPT_MOST", 3)
    last = bulk.finish(bulk.start("cancel", "since:1h"))
    assert [run.id for run in bulk.store.page("acme", 10)] == [last.id, runs[4].id, runs[3].id]
    assert bulk.store.find(runs[0].id) is None
    assert kit.client.ttl(keys.bulk(last.id)) > 89 * 86_400


@pytest.mark.parametrize(
    ("action", "text", "more", "field"),
    [
        ("erase", "since:1h", {}, "action"),
        ("cancel", "  ", {}, "query"),
        ("priority", "since:1h", {}, "priority"),
        ("priority", "since:1h", {"priority": "urgent"}, "priority"),
        ("cancel", "since:1h", {"priority": "high"}, "priority"),
        ("replay", "since:1h", {"dead": True}, "dead"),
    ],
)
def test_what_is_refused(action: str, text: str, more: dict[str, Any], field: str) -> None:
    """An unknown action, an empty query, and options of another action are refused, and the error names the field."""
    with pytest.raises(InvalidEdit) as caught:
        request(action, text, **more)
    assert [name for name, _ in caught.value.faults] == [field]


def test_a_frozen_query_is_read_back(kit: LaneKit, bulk: Bulk) -> None:
    """The query of a stored run has instants instead of ages, and ends at the instant when the run was created."""
    run = bulk.start("cancel", "state:queued since:1h")
    assert run.request.query == parse_query(str(run.request.query), 0.0)
    assert round(run.request.query.until - run.created_at, 6) <= 0.001
    assert isinstance(run.request.query, JobQuery)
    bulk.store.abort(run.id, ACTOR)
    ended = bulk.finish(bulk.start("cancel", "since:2999-01-01"))
    assert (ended.state, ended.matched) == ("done", 0)
