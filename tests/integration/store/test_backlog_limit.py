"""The limit of a tenant's backlog is the same for enqueueing, for replays and for retries that are due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from retouch import Edit, EditQueue, QueueFull
from retouch.outcomes import Succeed
from retouch.store import keys
from retouch.store.ledger import Ledger
from tests.charge_kit import AGAIN, GIVE_UP, READY, called_again, one_job, posted, tried
from tests.command_line import typed
from tests.gateway_process import Callers, problem
from tests.lane_kit import IMAGE, LaneKit, assert_consistent

EDIT = Edit(prompt="make it winter", init_image="https://a.example/in.png")

RETRYING = keys.jobs_by("state", "acme", "retrying")


def dead_letters(kit: LaneKit, count: int) -> list[str]:
    """Create failed jobs, pause the lane, and return the ids of the jobs."""
    kit.open(count, 0.0)
    jobs = [one_job(kit) for _ in range(count)]
    for job in jobs:
        tried(kit, job, "failed", GIVE_UP)
    kit.client.hset("rt:edits:gate", "paused", 1)
    return jobs


def is_full(kit: LaneKit) -> bool:
    """Return whether the tenant has no room for another job."""
    return isinstance(kit.jobs.enqueue([kit.new()])[0][0].error, QueueFull)


def test_replays_beyond_the_limit_are_refused(kit: LaneKit, ledger: Ledger, client: Any) -> None:
    """
    When the tenant has room for two jobs, a third replay is refused and changes nothing. After a job is cancelled, the
    third replay succeeds.
    """
    jobs = dead_letters(kit, 3)
    ledger.set_limits("acme", backlog_limit=2)
    before = client.hgetall(f"rt:edits:state:{jobs[2]}")
    assert [kit.jobs.replay(job)[0] for job in jobs] == ["replayed", "replayed", "full backlog"]
    assert client.hgetall(f"rt:edits:state:{jobs[2]}") == before
    assert client.zcard("rt:edits:backlog:acme") == 2
    assert is_full(kit)
    assert_consistent(client, jobs)
    kit.jobs.cancel(jobs[0])
    assert kit.jobs.replay(jobs[2])[0] == "replayed"


def test_jobs_that_wait_for_a_retry_count(kit: LaneKit, ledger: Ledger, client: Any) -> None:
    """
    A job that waits for a retry counts for the backlog, even after the retry is due. A cancelled job no longer counts.
    """
    kit.open(2, 0.0)
    ledger.set_limits("acme", backlog_limit=2)
    jobs = [one_job(kit) for _ in range(2)]
    for job in jobs:
        tried(kit, job, "failed", AGAIN)
    assert set(client.zrange(RETRYING, 0, -1)) == set(jobs)
    assert is_full(kit)
    kit.jobs.cancel(jobs[1])
    assert client.zrange(RETRYING, 0, -1) == [jobs[0]]
    client.hset("rt:edits:gate", "paused", 1)
    late = one_job(kit)
    assert is_full(kit)
    called_again(kit)
    assert client.exists(RETRYING) == 0
    assert set(client.zrange("rt:edits:backlog:acme", 0, -1)) == {jobs[0], late}
    assert is_full(kit)


def test_a_paid_answer_needs_no_budget(kit: LaneKit, ledger: Ledger) -> None:
    """
    When the budget is spent, the replay of a job that must POST again is refused. The replay of a job with a paid
    answer succeeds.
    """
    kit.open(2, 0.0)
    paid, unpaid = one_job(kit), one_job(kit)
    claim = posted(kit, paid)
    kit.jobs.answer(claim, "succeeded", READY)
    kit.jobs.cancel(paid)
    kit.jobs.settle(claim, GIVE_UP)
    tried(kit, unpaid, "failed", GIVE_UP)
    ledger.set_limits("acme", budget=1)
    assert [kit.jobs.replay(job)[0] for job in (unpaid, paid)] == ["full budget", "replayed"]
    kit.finish(paid, Succeed(IMAGE))


def test_a_client_and_a_gateway_say_that_there_is_no_room(
    kit: LaneKit, ledger: Ledger, redis_url: str, callers: Callers, gateway_url: str
) -> None:
    """
    When the tenant has no room, a replay raises `QueueFull` in Python, and is answered 429 with Retry-After over HTTP.
    """
    [first, second] = dead_letters(kit, 2)
    ledger.set_limits("acme", backlog_limit=1)
    kit.jobs.replay(first)
    api = callers("acme")
    with EditQueue(redis_url=redis_url) as direct, EditQueue(gateway_url, api_key=api.secret) as remote:
        for queue in (direct, remote):
            with pytest.raises(QueueFull) as full:
                queue.replay(second)
            assert (full.value.reason, full.value.refused) == ("backlog", 1)
    answer = api.post(f"/v1/edits/{second}/replay")
    problem(answer, "backlog-full", 429)
    assert int(answer.headers["retry-after"]) >= 1


def test_a_replay_of_all_says_how_many_are_left(
    kit: LaneKit, ledger: Ledger, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `retouch replay --failed` replays jobs while their tenant has room, and continues with other tenants. The output has
    the number of jobs that were not replayed.
    """
    dead_letters(kit, 4)
    kit.client.hdel("rt:edits:gate", "paused")
    other = one_job(kit, "globex")
    tried(kit, other, "failed", GIVE_UP)
    kit.client.hset("rt:edits:gate", "paused", 1)
    ledger.set_limits("acme", backlog_limit=3)
    monkeypatch.setenv("RETOUCH_REDIS_URL", redis_url)
    ended = typed("replay", "--failed")
    assert ended.code == 1
    assert "4 of 5 were replayed; 1 were not, tenant acme has no room for them (backlog)" in ended.err
    assert ended.out.count("left: tenant acme has no room (backlog)") == 1
    assert kit.state(other) == "queued"


def test_a_dry_run_asks_the_same_rule(
    kit: LaneKit, ledger: Ledger, callers: Callers, edit_body: Callable[..., dict[str, Any]]
) -> None:
    """
    When jobs that wait for a retry fill the backlog, a dry run returns `backlog` as the binding limit. An enqueue is
    refused then.
    """
    kit.open(1, 0.0)
    ledger.set_limits("acme", backlog_limit=1)
    tried(kit, one_job(kit), "failed", AGAIN)
    assert callers("acme").post("/v1/edits?dry_run=1", edit_body()).json()["binding"] == "backlog"
    assert is_full(kit)
