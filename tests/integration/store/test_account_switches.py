"""Tests of a live store that changes from one account to several and back, and of dry runs with several accounts."""

from __future__ import annotations

from collections import Counter
from typing import Any

from retouch.outcomes import Processing
from retouch.store.accounts import AccountStore
from retouch.store.queue_position import queue_position
from tests.account_kit import ASKED, accounts_of, close, post, settle, several, succeed
from tests.lane_kit import LaneKit, account, assert_consistent


def test_from_one_account_to_several_and_back(kit: LaneKit, client: Any) -> None:
    """
    When two accounts replace the only account and are removed again, jobs in flight, polls and the backlog continue,
    and no job is lost.
    """
    kit.open(3, 0.0)
    jobs = several(kit, 12)
    polled = post(kit, jobs[0].id)
    kit.jobs.answer(polled, "processing", ASKED, "ok")
    settle(kit, polled, ASKED)
    kit.open_accounts(account("default", 3), account("b", 2))
    kit.rescue()
    assert Counter(accounts_of(kit)) == {"default": 3, "b": 2}
    assert accounts_of(kit, jobs[0].id) == ["default"]
    at_b = next(record.id for record in kit.jobs.records(kit.dispatched()) if record.account == "b")
    second = post(kit, at_b)
    kit.jobs.answer(second, "processing", ASKED, "ok")
    settle(kit, second, ASKED)
    client.hset("rt:edits:gate:b", "served_until", 1)
    kit.open(3, 0.0)
    assert client.hget("rt:edits:gate", "accounts") is None
    kit.make_due("edits", "slots")
    assert ("edits.b", at_b) in kit.rescue()
    for _ in range(40):
        for job in kit.dispatched():
            claim = kit.jobs.claim(job, 15.0, ["default"])
            if claim and isinstance(claim.checkpoint, Processing):
                succeed(kit, claim)
            elif claim:
                assert kit.jobs.intend(claim) == "ok"
                succeed(kit, claim)
        kit.rescue()
    open_jobs = [job.id for job in jobs if kit.state(job.id) != "succeeded"]
    assert open_jobs == [at_b]
    kit.open_accounts(account("default", 3), account("b", 2))
    kit.make_due("edits", "slots")
    kit.rescue()
    succeed(kit, kit.claim(at_b))
    assert client.hgetall("rt:edits:held_by_account") == {}
    assert_consistent(client, [job.id for job in jobs])


def test_a_poll_of_an_account_that_is_gone_ends_at_the_deadline(kit: LaneKit, client: Any) -> None:
    """
    If no worker serves the account of a processing job, the job waits without another POST. At its deadline the job
    fails and can be resumed.
    """
    kit.open_accounts(account("a", 1), account("b", 1))
    job = kit.new(deadline_s=60.0)
    kit.enqueue(job)
    claim = post(kit, job.id)
    kit.jobs.answer(claim, "processing", ASKED, "ok")
    settle(kit, claim, ASKED)
    client.hset("rt:edits:gate:a", "served_until", 1)
    kit.lanes.open([account("b", 1)])
    assert client.hget("rt:edits:gate", "accounts") == "b"
    kit.make_due("edits", "slots")
    kit.rescue()
    assert kit.state(job.id) == "polling"
    client.hset(f"rt:edits:state:{job.id}", "deadline_at", 1)
    kit.make_due("edits", "slots")
    kit.rescue()
    record = kit.jobs.record(job.id)
    assert record is not None
    assert (record.state, record.resumable, len(record.charges)) == ("failed", True, 1)


def test_a_removed_account_leaves_the_list_when_nobody_serves_it(kit: LaneKit, store: AccountStore) -> None:
    """If a newer accounts file lacks an account, the list has this account only while a worker serves it."""
    kit.open_accounts(account("a", 1), account("b", 1))
    kit.lanes.open([account("a", 1), account("c", 1)])
    assert store.ids() == ("a", "c", "b")
    kit.client.hset("rt:edits:gate:b", "served_until", 1)
    kit.rescue()
    assert store.ids() == ("a", "c")
    kit.serve("b")
    assert store.ids() == ("a", "c", "b")


def test_workers_with_and_without_a_file_share_a_store(kit: LaneKit, store: AccountStore) -> None:
    """
    Workers without an accounts file serve the account `default`; workers with a file serve the accounts of the file.
    """
    kit.open_accounts(account("a", 1), account("b", 1))
    kit.open(2, 0.0)
    kit.serve("default")
    assert store.ids() == ("default", "a", "b")
    jobs = several(kit, 6)
    assert Counter(accounts_of(kit)) == {"default": 2, "a": 1, "b": 1}
    for held in (["default"], ["a", "b"]):
        for job in kit.dispatched():
            if claim := kit.jobs.claim(job, 15.0, held):
                assert claim.account in held
                assert kit.jobs.intend(claim) == "ok"
                succeed(kit, claim)
    assert len([job for job in jobs if kit.state(job.id) == "succeeded"]) >= 4


def test_one_account_again_is_not_closed_or_paused(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """When `default` becomes the only account again, `default` is open, even if it was closed or paused before."""
    kit.open_accounts(account("default", 1), account("b", 1))
    close(kit, several(kit, 1)[0].id)
    store.pause("default")
    client.hset("rt:edits:gate:b", "served_until", 1)
    kit.open(2, 0.0)
    assert set(client.hgetall("rt:edits:gate")).isdisjoint({"closed", "mode", "open_until", "accounts"})


# What others see


def test_a_dry_run_knows_all_accounts(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """A dry run computes the wait from the limits and rates of the accounts that the tenant's jobs may use."""
    kit.open_accounts(account("own", 2, tenants=("acme",)), account("a", 3), account("b", 5, rate_per_s=0.5))
    assert queue_position(client, "acme", 0.0).lane.limit == 2
    other = queue_position(client, "other", 0.0)
    assert (other.lane.limit, other.per_s(2.0), other.binding) == (8, 2.0, "none")
    assert kit.lanes.numbers("edits").limit == 10
    store.pause("own")
    assert queue_position(client, "acme", 0.0).binding == "account"
    assert kit.lanes.numbers("edits").limit == 8
