"""Tests with real scripts: which of several accounts gets a job."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from retouch.outcomes import Refused, Unknown
from retouch.store.accounts import AccountStore
from tests.account_kit import accounts_of, post, reason, refuse, settle, several, succeed
from tests.lane_kit import LaneKit, account, assert_consistent


def test_a_message_goes_to_the_queue_of_its_account(kit: LaneKit) -> None:
    """
    The message for a job goes to the queue of the job's account: `edits` for `default`, `edits.b` for `b`. The job has
    the reason why it got this account.
    """
    kit.open_accounts(account("default", 1), account("b", 1))
    messages = kit.enqueue(*(jobs := [kit.new(), kit.new()]))
    assert messages == [("edits", jobs[0].id), ("edits.b", jobs[1].id)]
    assert accounts_of(kit, jobs[0].id, jobs[1].id) == ["default", "b"]
    assert reason(kit, jobs[0].id) == "tier 1"


def test_no_account_has_more_in_flight_than_its_limit(kit: LaneKit, client: Any) -> None:
    """While enough jobs wait, each account has exactly its limit in flight, also after ten jobs have ended."""
    kit.open_accounts(account("default", 3), account("b", 1), account("c", 4))
    several(kit, 30)
    assert Counter(accounts_of(kit)) == {"default": 3, "b": 1, "c": 4}
    for _ in range(10):
        succeed(kit, post(kit, kit.dispatched()[0]))
        assert Counter(accounts_of(kit)) == {"default": 3, "b": 1, "c": 4}
    assert client.hgetall("rt:edits:held_by_account") == {"b": "1", "c": "4"}
    assert_consistent(client, [])


def test_a_lower_tier_is_filled_first(kit: LaneKit) -> None:
    """An account of tier 2 gets a job only while the accounts of tier 1 are full."""
    kit.open_accounts(account("spare", 2, tier=2), account("main", 2))
    jobs = several(kit, 3)
    assert accounts_of(kit, *(job.id for job in jobs)) == ["main", "main", "spare"]
    succeed(kit, post(kit, jobs[0].id))
    several(kit, 1)
    assert Counter(accounts_of(kit)) == {"main": 2, "spare": 1}


@pytest.mark.parametrize(("busy", "jobs"), [(1, 10_000), (7, 3_000)])
def test_weights_hold_within_five_percent(kit: LaneKit, busy: int, jobs: int) -> None:
    """Over many dispatches, with one or several jobs in flight, accounts get jobs in proportion to their weights."""
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}
    kit.open_accounts(*(account(name, 20, weight=weight) for name, weight in weights.items()))
    client, given = kit.client, Counter[str]()
    flying = several(kit, busy)
    for number in range(jobs):
        given[client.hget(f"rt:edits:state:{flying[0].id}", "account")] += 1
        kit.jobs.cancel(flying.pop(number % len(flying) if number % 3 else 0).id)
        for job in list(flying):
            if not client.zscore("rt:edits:slots", job.id):
                flying.remove(job)
        if number % 50 == 0:
            client.delete(
                *[key for key in client.scan_iter("rt:*:ed_*", count=1000) if client.ttl(key) > 0] or ["none"]
            )
        flying += several(kit, busy - len(flying))
    total = sum(weights.values())
    for name, weight in weights.items():
        assert given[name] / jobs == pytest.approx(weight / total, rel=0.05), given


def test_an_own_account_serves_its_tenant_alone(kit: LaneKit) -> None:
    """An account with owners gets no jobs of other tenants. The jobs of an owner go to its own account first."""
    kit.open_accounts(account("own", 1, tenants=("acme",), shared_fallback="always"), account("shared", 1))
    other, *_ = several(kit, 2, "other")
    first, second = several(kit, 2, "acme")
    assert accounts_of(kit, other.id, first.id) == ["shared", "own"]
    assert reason(kit, first.id) == "own"
    assert second.id not in kit.dispatched()


def test_a_tenant_with_never_waits_for_its_own_account(kit: LaneKit, store: AccountStore) -> None:
    """
    While a tenant's own account is paused, and its `shared_fallback` is `never`, the tenant's jobs wait. Jobs of other
    tenants still run.
    """
    kit.open_accounts(account("own", 2, tenants=("acme",)), account("shared", 3))
    store.pause("own")
    several(kit, 5, "acme")
    several(kit, 5, "other")
    for _ in range(10):
        kit.rescue()
        assert set(accounts_of(kit)) == {"shared"}
        succeed(kit, post(kit, kit.dispatched()[0]))
        several(kit, 1, "other")
    assert {record.spec.tenant for record in kit.jobs.records(kit.dispatched())} == {"other"}
    store.resume("own")
    kit.rescue()
    assert Counter(accounts_of(kit)) == {"own": 2, "shared": 3}


def test_free_only_moves_what_cannot_have_been_billed(kit: LaneKit, store: AccountStore) -> None:
    """
    While a tenant's own account with `free_only` is paused, a new job of the tenant uses a shared account. A job that
    may have been billed waits for the own account.
    """
    kit.open_accounts(account("own", 1, tenants=("acme",), shared_fallback="free_only"), account("shared", 1))
    (billed,) = several(kit, 1)
    claim = post(kit, billed.id)
    kit.jobs.answer(claim, "unknown", None, "alive")
    store.pause("own")
    settle(kit, claim, Unknown("lost"))
    kit.make_due("edits", "timetable")
    (fresh,) = several(kit, 1)
    kit.rescue()
    assert accounts_of(kit) == ["shared"]
    assert kit.dispatched() == [fresh.id]
    kit.jobs.cancel(fresh.id)
    kit.rescue()
    assert kit.state(billed.id) == "retrying"
    store.resume("own")
    kit.make_due("edits", "timetable")
    kit.rescue()
    assert accounts_of(kit, billed.id) == ["own"]


def test_owners_of_one_account_take_turns(kit: LaneKit) -> None:
    """When several tenants own an account, they get the account's slots in proportion to their weights."""
    kit.open_accounts(account("own", 1, tenants=("a", "b", "c")), account("shared", 1))
    kit.lanes.set_group("edits", "c", weight=2.0)
    for tenant in ("a", "b", "c", "d"):
        several(kit, 100, tenant)
    served = Counter[str]()
    for _ in range(80):
        (job,) = [record for record in kit.jobs.records(kit.dispatched()) if record.account == "own"]
        served[job.spec.tenant] += 1
        succeed(kit, post(kit, job.id))
    assert served == {"a": 20, "b": 20, "c": 40}


def test_calls_of_a_day_bound_an_account(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """An account gets at most `calls_per_day` calls. A call that the endpoint refuses for free does not count."""
    kit.open_accounts(account("a", 5, calls_per_day=3), account("b", 1, tier=2))
    several(kit, 20)
    calls = [post(kit, record.id) for record in kit.jobs.records(kit.dispatched()) if record.account == "a"]
    assert len(calls) == 3
    refuse(kit, calls[0], Refused("invalid_request", "no"), "alive")
    assert len([name for name in accounts_of(kit) if name == "a"]) == 2
    for claim in calls[1:]:
        succeed(kit, claim)
    assert Counter(accounts_of(kit))["a"] == 1
    (last,) = [record.id for record in kit.jobs.records(kit.dispatched()) if record.account == "a"]
    succeed(kit, post(kit, last))
    kit.rescue()
    assert set(accounts_of(kit)) == {"b"}
    assert store.show("a").calls_today == 3


def test_the_rate_of_an_account_bounds_it(kit: LaneKit) -> None:
    """An account with a rate gets only as many jobs at once as the rate allows. Other accounts are not slowed."""
    kit.open_accounts(account("slow", 50, rate_per_s=2.0), account("b", 3))
    several(kit, 30)
    assert Counter(accounts_of(kit)) == {"slow": 2, "b": 3}


def test_one_account_uses_no_keys_of_accounts(kit: LaneKit, client: Any) -> None:
    """
    With one account, no script in the life of a job touches a key that is only for several accounts. With several, the
    same test finds such keys.
    """
    kit.open(2, 0.0)
    assert keys_of_accounts(kit, client) == set()
    kit.open_accounts(account("default", 1), account("b", 1))
    assert {"rt:edits:held_by_account", "rt:ledger:account:b"} < keys_of_accounts(kit, client)


def keys_of_accounts(kit: LaneKit, client: Any) -> set[str]:
    """Run two jobs, and return the keys for several accounts that commands of scripts name meanwhile."""
    names = ("accounts", "edits:account", "edits:held_by", "edits:gate:", "ledger_accounts", "ledger:account:")
    starts, words = tuple(f"rt:{name}" for name in (*names, "jobs_by_account")), set[str]()
    with client.monitor() as monitor:
        for job in several(kit, 2):
            succeed(kit, post(kit, job.id))
        client.echo("over")
        while (command := str(monitor.next_command()["command"])) != "ECHO over":
            # The text of a script, which is sent once, is no command.
            words.update([] if command.startswith("SCRIPT LOAD") else command.split())
    assert "rt:ledger:acme" in words
    return {word for word in words if word.startswith(starts)}
