"""Tests with real scripts: one of several accounts of the endpoint is closed, tested, paused or drained."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from retouch.feed import read_page
from retouch.outcomes import AccountRefused, GateClosed, Unknown
from retouch.store.accounts import AccountStore, UnknownAccount
from retouch.store.blob_retention import ACCOUNTS_KEPT_S, trim_indexes
from retouch.store.ledger import Ledger
from tests.account_kit import (
    ASKED,
    accounts_of,
    close,
    events_of_accounts,
    post,
    refuse,
    settle,
    several,
    succeed,
    succeeded_elsewhere,
)
from tests.lane_kit import LaneKit, account


def test_a_refused_key_closes_the_account_and_not_the_job(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """
    When the endpoint refuses the key of an account, the account closes and the job moves at once. The closed account
    gets no job, and the feed has one event.
    """
    kit.open_accounts(account("a", 2), account("b", 2))
    first, _, third, *_ = several(kit, 8)
    under_way = post(kit, third.id)
    assert close(kit, first.id) == []
    assert store.show("a").closed == "bad_key"
    refuse(kit, under_way, AccountRefused("bad_key", "no"), "closed bad_key")
    assert events_of_accounts(client) == [("account.closed", "a")]
    for _ in range(3):
        kit.rescue()
        assert set(accounts_of(kit)) == {"b"}
        succeed(kit, post(kit, kit.dispatched()[0]))
    assert kit.jobs.counts().get("failed") is None
    assert [entry.type for entry in read_page(client) if entry.tenant == ""] == ["account.closed"]


def test_calls_under_way_do_not_open_a_closed_account(kit: LaneKit, store: AccountStore) -> None:
    """If an account closes during a call, the answer to this call does not open the account."""
    kit.open_accounts(account("a", 2), account("b", 1))
    first, _, third = several(kit, 3)
    under_way = post(kit, third.id)
    close(kit, first.id, "no_credits")
    succeed(kit, under_way)
    assert store.show("a").closed == "no_credits"


@pytest.mark.parametrize("answers", [True, False])
def test_a_test_lets_one_job_through(kit: LaneKit, client: Any, store: AccountStore, answers: bool) -> None:
    """
    An account that is tested gets one job. A successful answer opens the account, and a second refusal closes the
    account again.
    """
    kit.open_accounts(account("a", 3), account("b", 1))
    close(kit, several(kit, 12)[0].id)
    assert store.test("a") is True
    kit.make_due("edits", "slots")
    kit.rescue()
    (probe,) = [record for record in kit.jobs.records(kit.dispatched()) if record.account == "a"]
    assert store.show("a").tested is True
    kit.rescue()
    assert Counter(accounts_of(kit))["a"] == 1
    claim = post(kit, probe.id)
    if answers:
        succeed(kit, claim)
        assert store.show("a").closed == ""
        assert Counter(accounts_of(kit))["a"] == 3
        assert events_of_accounts(client)[-1] == ("account.opened", "a")
        assert store.test("a") is False
    else:
        refuse(kit, claim, AccountRefused("bad_key", "no"), "closed bad_key")
        kit.rescue()
        assert store.show("a").closed == "bad_key"
        assert set(accounts_of(kit)) == {"b"}


def test_when_all_are_closed_jobs_wait(kit: LaneKit, store: AccountStore) -> None:
    """While all accounts are closed, all jobs wait. After a successful test of one account, all jobs run."""
    kit.open_accounts(account("a", 1), account("b", 1))
    first, second = several(kit, 2)
    close(kit, first.id)
    close(kit, second.id)
    for _ in range(3):
        kit.make_due("edits", "timetable")
        kit.rescue()
    assert kit.dispatched() == []
    store.test("b")
    kit.make_due("edits", "timetable")
    kit.client.hset(f"rt:edits:state:{second.id}", "avoid_until", 1)
    kit.rescue()
    succeed(kit, post(kit, kit.dispatched()[0]))
    kit.rescue()
    succeed(kit, post(kit, kit.dispatched()[0]))
    assert kit.jobs.counts() == {"succeeded": 2}


def test_a_job_that_holds_a_slot_of_a_closed_account_goes_elsewhere(kit: LaneKit) -> None:
    """
    When an account closes, its unclaimed jobs move to another account. A claimed job gets `account_closed` from
    `intend`, and moves when its worker settles it.
    """
    kit.open_accounts(account("a", 3), account("b", 3))
    several(kit, 6)
    first, claimed, waiting = [record.id for record in kit.jobs.records(kit.dispatched()) if record.account == "a"]
    held = kit.claim(claimed)
    close(kit, first)
    assert kit.jobs.intend(held) == "account_closed"
    settle(kit, held, GateClosed("account_closed"))
    kit.make_due("edits", "slots", waiting)
    kit.rescue()
    assert set(accounts_of(kit)) == {"b"}
    assert len(kit.dispatched()) == 3


# Operation


def test_drain_ends_what_is_in_work_and_gets_nothing_new(kit: LaneKit, store: AccountStore) -> None:
    """A draining account is polled until its accepted jobs are done. All other jobs go to other accounts."""
    kit.open_accounts(account("a", 2), account("b", 1))
    jobs = several(kit, 6)
    in_work = [record.id for record in kit.jobs.records(kit.dispatched()) if record.account == "a"]
    claim = post(kit, in_work[0])
    kit.jobs.answer(claim, "processing", ASKED, "ok")
    settle(kit, claim, ASKED)
    store.drain("a")
    kit.make_due("edits", "slots")
    messages = kit.rescue()
    assert ("edits.a", in_work[0]) in messages
    assert Counter(accounts_of(kit)) == {"a": 1, "b": 1}
    succeed(kit, kit.claim(in_work[0]))
    for _ in range(5):
        kit.rescue()
        (job,) = kit.dispatched()
        assert accounts_of(kit, job) == ["b"]
        succeed(kit, post(kit, job))
    assert {kit.state(job.id) for job in jobs} == {"succeeded"}


def test_a_paused_account_is_not_polled(kit: LaneKit, store: AccountStore) -> None:
    """A paused account gets no request: its polls keep their slots and continue when the account is resumed."""
    kit.open_accounts(account("a", 1), account("b", 1))
    (job,) = several(kit, 1)
    claim = post(kit, job.id)
    kit.jobs.answer(claim, "processing", ASKED, "ok")
    settle(kit, claim, ASKED)
    store.pause("a")
    kit.make_due("edits", "slots")
    assert kit.rescue() == []
    assert kit.state(job.id) == "polling"
    store.resume("a")
    kit.make_due("edits", "slots")
    assert kit.rescue() == [("edits.a", job.id)]


def test_an_account_that_nobody_serves_gets_nothing(kit: LaneKit, store: AccountStore) -> None:
    """
    When no living worker has the key of an account, the account gets no job, and its unclaimed jobs are taken back.
    """
    kit.lanes.open([account("a", 2), account("b", 2)])
    kit.serve("a")
    several(kit, 8)
    assert Counter(accounts_of(kit)) == {"a": 2}
    kit.serve("b")
    kit.client.hset("rt:edits:gate:a", "served_until", 1)
    kit.make_due("edits", "slots")
    kit.rescue()
    assert Counter(accounts_of(kit)) == {"b": 2}
    assert [numbers.served for numbers in store.all()] == [False, True]


def test_only_who_holds_the_account_claims_its_job(kit: LaneKit) -> None:
    """
    A worker cannot claim a job of an account that this worker does not serve. Rescue sends the message to the account's
    queue.
    """
    kit.open_accounts(account("a", 1), account("b", 1))
    (job,) = several(kit, 1)
    assert kit.jobs.claim(job.id, 15.0, ["b", "default"]) is None
    kit.make_due("edits", "slots")
    assert kit.rescue() == [("edits.a", job.id)]
    assert kit.jobs.claim(job.id, 15.0, ["a"]) is not None


def test_the_numbers_of_accounts(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """
    The list has limit, slots, mode, breaker, calls and cost of each account. Without an accounts file, the list is
    empty.
    """
    kit.open(5, 0.0)
    assert store.all() == []
    with pytest.raises(UnknownAccount, match="got 'a'"):
        store.pause("a")
    kit.open_accounts(account("a", "auto", price_per_call=0.5, tier=2), account("b", 2, tenants=("acme",)))
    jobs = several(kit, 4, "other")
    succeed(kit, post(kit, jobs[0].id))
    a, b = store.all()
    assert (a.id, a.limit, a.learns, a.held, a.tier, a.served, a.takes_jobs) == ("a", 5, True, 3, 2, True, True)
    assert (a.calls_today, a.charges_today["useful"], a.amount_today) == (1, 1, 0.5)
    assert (b.held, b.tenants, b.shared_fallback, b.mode) == (0, ("acme",), "never", "")
    store.drain("b")
    client.hset("rt:edits:gate:a", mapping={"open_until": time.time() + 60, "full_until": time.time() + 60})
    a, b = store.all()
    assert b.mode == "draining"
    assert a.breaker_open_s == pytest.approx(60, abs=5)
    assert a.resting_s == pytest.approx(60, abs=5)


def test_usage_by_account_adds_up_to_that_by_tenant(kit: LaneKit, client: Any) -> None:
    """
    Usage by account books each charge for the account that was called, at this account's price. Charges from before the
    accounts file are booked for `default`. Usage by tenant has the same sums.
    """
    kit.open(5, 0.0)
    succeed(kit, post(kit, several(kit, 1)[0].id))
    kit.open_accounts(account("a", 1, price_per_call=0.5), account("b", 1, price_per_call=2.0))
    first, second = several(kit, 2)
    succeed(kit, post(kit, first.id))
    frozen = post(kit, second.id)
    kit.jobs.answer(frozen, "unknown", None, "down")
    settle(kit, frozen, Unknown("lost"))
    kit.client.hset("rt:edits:gate:b", "mode", "paused")
    kit.make_due("edits", "timetable")
    kit.rescue()
    succeed(kit, post(kit, second.id))
    rows = {row.key: row for row in Ledger(client).usage(by="account", price_per_call=1.0)}
    assert {key: (row.useful, row.repeated, row.wasted, row.unknown) for key, row in rows.items()} == {
        "default": (1, 0, 0, 0),
        "a": (2, 0, 0, 0),
        "b": (0, 0, 0, 1),
    }
    assert {key: row.amount for key, row in rows.items()} == {"default": 1.0, "a": 1.0, "b": 2.0}
    (tenant,) = Ledger(client).usage()
    assert (tenant.useful, tenant.unknown) == (3, 1)
    assert {row.key: row.useful for row in Ledger(client).usage(by="account", tenant="acme")} == {
        "default": 1,
        "a": 2,
        "b": 0,
    }
    assert Ledger(client).usage(by="account", tenant="nobody") == []


def test_an_account_that_is_gone_is_forgotten_and_its_ledger_is_not(kit: LaneKit, client: Any) -> None:
    """
    The gate of an account is deleted ninety days after a worker last served the account. The charges stay in the
    ledger.
    """
    names = ("gone", "away", "lately")
    kit.open_accounts(*(account(name, 1, price_per_call=0.5) for name in names))
    for job in several(kit, 3):
        succeed(kit, post(kit, job.id))
    before = Ledger(client).usage(by="account")
    assert [(row.key, row.amount) for row in before] == [("away", 0.5), ("gone", 0.5), ("lately", 0.5)]
    for name in names:
        client.hset(f"rt:edits:gate:{name}", "served_until", time.time() - ACCOUNTS_KEPT_S - 60)
    client.hset("rt:edits:gate:lately", "served_until", time.time() - ACCOUNTS_KEPT_S + 60)
    kit.lanes.open([account("away", 1, price_per_call=0.5), account("default", 1)])
    assert trim_indexes(client, 3_600.0) == 1
    assert client.smembers("rt:accounts") == {"away", "lately", "default"}
    assert not client.exists("rt:edits:gate:gone")
    assert Ledger(client).usage(by="account") == before
    kit.lanes.open([account("gone", 1, price_per_call=2.0), account("default", 1)])
    assert [row.amount for row in Ledger(client).usage(by="account")] == [0.5, 2.0, 0.5]


def test_a_late_answer_corrects_the_account_that_was_called(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """A late answer counts for the account of its POST, even if the job has moved to another account and ended."""
    kit.open_accounts(account("a", 1), account("b", 1))
    frozen = succeeded_elsewhere(kit, store, "a")
    assert Counter({row.key: row.unknown for row in Ledger(client).usage(by="account")})["a"] == 1
    kit.jobs.answer(frozen, "failed", None, "alive")
    assert [(row.key, row.unknown) for row in Ledger(client).usage(by="account")] == [("a", 0), ("b", 0)]
    assert [numbers.calls_today for numbers in store.all()] == [0, 1]
