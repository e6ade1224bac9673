"""Several accounts of the endpoint in the store: who gets a job, what moves, what stays, what closes; real scripts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retouch.accounts import Account
from retouch.feed import read_page
from retouch.outcomes import (
    AccountRefused,
    Busy,
    GateClosed,
    GenerationLost,
    ImageUnavailable,
    Outcome,
    Processing,
    Ready,
    Refused,
    Stored,
    Unknown,
)
from retouch.policy import RetryPolicy, decide
from retouch.store.accounts import AccountStore, UnknownAccount
from retouch.store.jobs import NewJob
from retouch.store.ledger import Ledger
from retouch.store.queue_position import queue_position
from retouch.store.records import Claim
from retouch.store.scripts import Message
from tests.lane_kit import IMAGE, LaneKit, account, assert_consistent

READY = Ready(("https://out.example/a.png",), "7")
ASKED = Processing("7", "https://endpoint.example/fetch/7", 1.0)
FULL = Busy("queue_full", "its queue is full", 5.0)
POLICY = RetryPolicy(backoff_base_s=1.0)


@pytest.fixture
def store(client: Any) -> AccountStore:
    return AccountStore(client)


def accounts_of(kit: LaneKit, *jobs: str) -> list[str]:
    """Return the account of each job, of those that hold a slot if none is named."""
    return [record.account for record in kit.jobs.records(jobs or kit.dispatched())]


def reason(kit: LaneKit, job: str) -> str:
    record = kit.jobs.record(job)
    assert record is not None
    return record.account_reason


def several(kit: LaneKit, count: int, tenant: str = "acme") -> list[NewJob]:
    jobs = [kit.new(tenant) for _ in range(count)]
    kit.enqueue(*jobs)
    return jobs


def post(kit: LaneKit, job: str) -> Claim:
    """Claim a job and write the intent to POST."""
    claim = kit.claim(job)
    assert kit.jobs.intend(claim) == "ok"
    return claim


def settle(kit: LaneKit, claim: Claim, outcome: Outcome) -> list[Message]:
    """Settle an attempt with what `decide` says of its outcome."""
    return kit.jobs.settle(claim, decide(outcome, claim.attempt(), POLICY, claim.now_at, 0.5))


def refuse(kit: LaneKit, claim: Claim, outcome: Outcome, health: str) -> list[Message]:
    """Let the account refuse a POST, free of charge."""
    kit.jobs.answer(claim, "refused", None, health)
    return settle(kit, claim, outcome)


def succeed(kit: LaneKit, claim: Claim) -> list[Message]:
    kit.jobs.answer(claim, "succeeded", READY, "ok")
    return settle(kit, claim, Stored(IMAGE))


def events_of_accounts(client: Any) -> list[tuple[str, str]]:
    entries = client.xrange("rt:feed")
    return [(fields["type"], fields["account"]) for _, fields in entries if "account" in fields]


# Which account


def test_a_message_goes_to_the_queue_of_its_account(kit: LaneKit) -> None:
    """`default` keeps the queue of one account, each other one has a queue of its own, and the record says why."""
    kit.open_accounts(account("default", 1), account("b", 1))
    messages = kit.enqueue(*(jobs := [kit.new(), kit.new()]))
    assert messages == [("edits", jobs[0].id), ("edits.b", jobs[1].id)]
    assert accounts_of(kit, jobs[0].id, jobs[1].id) == ["default", "b"]
    assert reason(kit, jobs[0].id) == "tier 1"


def test_no_account_has_more_in_flight_than_its_limit(kit: LaneKit, client: Any) -> None:
    """Each account has its limit in flight, not one more, however jobs come and end."""
    kit.open_accounts(account("default", 3), account("b", 1), account("c", 4))
    several(kit, 30)
    assert Counter(accounts_of(kit)) == {"default": 3, "b": 1, "c": 4}
    for _ in range(10):
        succeed(kit, post(kit, kit.dispatched()[0]))
        assert Counter(accounts_of(kit)) == {"default": 3, "b": 1, "c": 4}
    assert client.hgetall("rt:edits:held_by_account") == {"b": "1", "c": "4"}
    assert_consistent(client, [])


def test_a_lower_tier_is_filled_first(kit: LaneKit) -> None:
    """The second tier gets a job only while the first one is full."""
    kit.open_accounts(account("spare", 2, tier=2), account("main", 2))
    jobs = several(kit, 3)
    assert accounts_of(kit, *(job.id for job in jobs)) == ["main", "main", "spare"]
    succeed(kit, post(kit, jobs[0].id))
    several(kit, 1)
    assert Counter(accounts_of(kit)) == {"main": 2, "spare": 1}


@pytest.mark.parametrize(("busy", "jobs"), [(1, 10_000), (7, 3_000)])
def test_weights_hold_within_five_percent(kit: LaneKit, busy: int, jobs: int) -> None:
    """Over many dispatches, with one or several jobs in flight, accounts get work by their weights."""
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
    """An account with tenants gets no job of another one, and its tenants go there first."""
    kit.open_accounts(account("own", 1, tenants=("acme",), shared_fallback="always"), account("shared", 1))
    other, *_ = several(kit, 2, "other")
    first, second = several(kit, 2, "acme")
    assert accounts_of(kit, other.id, first.id) == ["shared", "own"]
    assert reason(kit, first.id) == "own"
    assert second.id not in kit.dispatched()


def test_a_tenant_with_never_waits_for_its_own_account(kit: LaneKit, store: AccountStore) -> None:
    """While its own account is paused, a tenant with `never` gets no slot elsewhere, and none of the others waits."""
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
    """With `free_only` a fresh job goes to a shared account; one whose POST may have been billed waits for its own."""
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
    """Tenants that share an account of their own get its slots by their weights; none starves."""
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
    """An account has no more calls a day than it may; a free answer gives its call back."""
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
    """A rate is one of its account: the others go on."""
    kit.open_accounts(account("slow", 50, rate_per_s=2.0), account("b", 3))
    several(kit, 30)
    assert Counter(accounts_of(kit)) == {"slow": 2, "b": 3}


# What moves, and what stays


def test_a_full_queue_moves_the_job_at_once(kit: LaneKit) -> None:
    """A job that one account refused for a full queue goes to another at once, at no attempt and with no event."""
    kit.open_accounts(account("a", 1), account("b", 1))
    (job,) = several(kit, 1)
    messages = refuse(kit, post(kit, job.id), FULL, "full")
    assert messages == [("edits.b", job.id)]
    record = kit.jobs.record(job.id)
    assert record is not None
    assert (record.state, record.account, record.account_reason) == ("queued", "b", "moved: queue_full at a")
    assert record.attempt == 0
    claim = post(kit, job.id)
    assert (claim.number, [charge.account for charge in claim.charges]) == (1, ["a", "b"])
    assert [entry["type"] for entry in kit.jobs.timeline(job.id)] == ["edit.running"]


def test_without_another_account_it_waits_as_with_one(kit: LaneKit, store: AccountStore) -> None:
    """If no other account is open, a refused job waits its time without a slot."""
    kit.open_accounts(account("a", 1), account("b", 1))
    store.pause("b")
    (job,) = several(kit, 1)
    assert refuse(kit, post(kit, job.id), FULL, "full") == []
    assert kit.state(job.id) == "retrying"


def test_a_refused_job_does_not_come_back_at_once(kit: LaneKit) -> None:
    """The account that refused a job is avoided for the time of the refusal, though it alone has room."""
    kit.open_accounts(account("a", 5), account("b", 1))
    (job, other) = several(kit, 2)
    assert accounts_of(kit, job.id, other.id) == ["a", "b"]
    claim = post(kit, job.id)
    unreachable = Busy("endpoint_unreachable", "no connection", 5.0)
    assert refuse(kit, claim, unreachable, "down") == []
    assert kit.state(job.id) == "retrying"
    kit.client.hset(f"rt:edits:state:{job.id}", "avoid_until", 1)
    kit.make_due("edits", "timetable", job.id)
    kit.rescue()
    assert accounts_of(kit, job.id) == ["a"]


def test_an_unknown_outcome_never_moves_for_free(kit: LaneKit) -> None:
    """A POST whose answer is lost counts on whichever account the next one goes to; `max_charges` is over all."""
    kit.open_accounts(account("a", 1), account("b", 1))
    (job,) = several(kit, 1)
    accounts = []
    for _ in range(2):
        claim = post(kit, job.id)
        accounts.append(claim.account)
        kit.jobs.answer(claim, "unknown", None, "down")
        settle(kit, claim, Unknown("lost"))
        kit.client.hset("rt:edits:gate:a", "mode", "paused")
        kit.make_due("edits", "timetable")
        kit.rescue()
    assert accounts == ["a", "b"]
    record = kit.jobs.record(job.id)
    assert record is not None
    assert (record.state, len(record.charges)) == ("failed", 2)
    assert record.error is not None
    assert record.error.code == "outcome_unknown"


def test_a_paid_job_is_polled_where_it_was_created(kit: LaneKit) -> None:
    """A processing job whose worker died, or that was replayed, gets a slot of its creator and of no other account."""
    kit.open_accounts(account("a", 1), account("b", 5))
    (job,) = several(kit, 1)
    claim = post(kit, job.id)
    kit.jobs.answer(claim, "processing", ASKED, "ok")
    settle(kit, claim, ASKED)
    kit.make_due("edits", "slots")
    assert kit.rescue() == [("edits.a", job.id)]
    kit.claim(job.id)
    kit.make_due("edits", "slots")
    assert kit.rescue() == [("edits.a", job.id)]
    claim = kit.claim(job.id)
    assert isinstance(claim.checkpoint, Processing)
    settle(kit, claim, ImageUnavailable("our store", our_store_failed=True))
    several(kit, 12)
    for _ in range(3):
        kit.make_due("edits", "timetable")
        kit.rescue()
        assert kit.state(job.id) == "retrying"
    (other,) = [record.id for record in kit.jobs.records(kit.dispatched()) if record.account == "a"]
    succeed(kit, post(kit, other))
    assert "a" not in accounts_of(kit), "the slot is kept for the job that waits for it"
    kit.make_due("edits", "timetable")
    kit.rescue()
    assert accounts_of(kit, job.id) == ["a"]
    assert reason(kit, job.id) == "sticky"


def test_a_finished_image_is_downloaded_on_any_account(kit: LaneKit, store: AccountStore) -> None:
    """A download needs no key: a paid image comes home though its account is closed."""
    kit.open_accounts(account("a", 1), account("b", 1))
    (job,) = several(kit, 1)
    claim = post(kit, job.id)
    kit.jobs.answer(claim, "succeeded", READY, "ok")
    settle(kit, claim, ImageUnavailable("404"))
    store.pause("a")
    kit.make_due("edits", "timetable")
    kit.rescue()
    assert accounts_of(kit, job.id) == ["b"]
    claim = kit.claim(job.id)
    assert isinstance(claim.checkpoint, Ready)
    assert [charge.account for charge in claim.charges] == ["a"]


def test_late_answers_of_two_accounts_keep_their_creators(kit: LaneKit) -> None:
    """Two POSTs of a job are in work at two accounts: each is asked about its own one, the spare one too."""
    kit.open_accounts(account("a", 1), account("b", 1))
    (job,) = several(kit, 1)
    frozen = post(kit, job.id)
    kit.make_due("edits", "slots")
    kit.client.hset("rt:edits:gate:a", "mode", "draining")
    kit.rescue()
    kit.make_due("edits", "slots")
    kit.rescue()
    second = post(kit, job.id)
    assert (frozen.account, second.account) == ("a", "b")
    kit.jobs.answer(second, "processing", Processing("2", "https://b.example/2", 1.0), "ok")
    kit.jobs.answer(frozen, "processing", Processing("1", "https://a.example/1", 1.0), "ok")
    assert second.charge_in_work.account == "b"
    settle(kit, second, Processing("2", "https://b.example/2", 1.0))
    kit.make_due("edits", "slots")
    kit.rescue()
    looking = kit.claim(job.id)
    assert (looking.account, looking.charge_in_work.account) == ("b", "b")
    kit.jobs.answer(looking, "processing", None)
    settle(kit, looking, GenerationLost("gone"))
    for _ in range(3):
        kit.make_due("edits", "timetable")
        kit.rescue()
    spare = kit.claim(job.id)
    assert isinstance(spare.checkpoint, Processing)
    assert (spare.checkpoint.endpoint_id, spare.account, spare.charge_in_work.account) == ("1", "a", "a")


# Closing and opening


def close(kit: LaneKit, job: str, code: str = "bad_key") -> list[Message]:
    return refuse(kit, post(kit, job), AccountRefused(code, "no"), f"closed {code}")


def test_a_refused_key_closes_the_account_and_not_the_job(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """The job goes on elsewhere at once; the account gets nothing until it is tested, and the feed says so once."""
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
    """An answer to a call that was out when the account closed says nothing new."""
    kit.open_accounts(account("a", 2), account("b", 1))
    first, _, third = several(kit, 3)
    under_way = post(kit, third.id)
    close(kit, first.id, "no_credits")
    succeed(kit, under_way)
    assert store.show("a").closed == "no_credits"


@pytest.mark.parametrize("answers", [True, False])
def test_a_test_lets_one_job_through(kit: LaneKit, client: Any, store: AccountStore, answers: bool) -> None:
    """Half-open: one job is the probe; a sign of life opens the account, another refusal closes it again."""
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
    """Without an open account nothing fails and nothing is lost; after a test all go on."""
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
    """What was dispatched and is not claimed is taken back; what was claimed learns it at its intent."""
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
    """A draining account is polled to the end; its unclaimed jobs and all new ones go elsewhere."""
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
    """A pause sends nothing at all: polls wait with their slots, and go on after it."""
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
    """Without a living worker that holds its key, an account gets no job, and gives its unclaimed ones back."""
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
    """A worker does not claim a job of another account; rescue sends the message again, to the account's queue."""
    kit.open_accounts(account("a", 1), account("b", 1))
    (job,) = several(kit, 1)
    assert kit.jobs.claim(job.id, 15.0, ["b", "default"]) is None
    kit.make_due("edits", "slots")
    assert kit.rescue() == [("edits.a", job.id)]
    assert kit.jobs.claim(job.id, 15.0, ["a"]) is not None


def test_the_numbers_of_accounts(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """The list has limit, held, mode, breaker, calls and money of each account, and none while there is one."""
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
    """Each charge is booked on the account that it was made at, at that account's price; earlier ones on `default`."""
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


def test_a_late_answer_corrects_the_account_that_was_called(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """An answer that comes late counts on the account of its POST, though the job has moved on and ended."""
    kit.open_accounts(account("a", 1), account("b", 1))
    (job,) = several(kit, 1)
    frozen = post(kit, job.id)
    store.drain("a")
    kit.make_due("edits", "slots")
    kit.rescue()
    kit.make_due("edits", "slots")
    kit.rescue()
    succeed(kit, post(kit, job.id))
    assert Counter({row.key: row.unknown for row in Ledger(client).usage(by="account")})["a"] == 1
    kit.jobs.answer(frozen, "failed", None, "alive")
    assert [(row.key, row.unknown) for row in Ledger(client).usage(by="account")] == [("a", 0), ("b", 0)]
    assert [numbers.calls_today for numbers in store.all()] == [0, 1]


# One account, several, one again


def test_from_one_account_to_several_and_back(kit: LaneKit, client: Any) -> None:
    """On a live store nothing is lost: jobs in flight, polls and the backlog go on through both changes."""
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
    """Nobody else is asked about it, and nothing is POSTed again: it fails resumable once its time is over."""
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
    """A worker with another file keeps an account; once its last worker is gone it is dropped, and may come back."""
    kit.open_accounts(account("a", 1), account("b", 1))
    kit.lanes.open([account("a", 1), account("c", 1)])
    assert store.ids() == ("a", "c", "b")
    kit.client.hset("rt:edits:gate:b", "served_until", 1)
    kit.rescue()
    assert store.ids() == ("a", "c")
    kit.serve("b")
    assert store.ids() == ("a", "c", "b")


def test_workers_with_and_without_a_file_share_a_store(kit: LaneKit, store: AccountStore) -> None:
    """A worker without a file serves `default` beside the accounts of the others, until it is gone."""
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
    """What closed or paused `default` among several does not stop it as the only one."""
    kit.open_accounts(account("default", 1), account("b", 1))
    close(kit, several(kit, 1)[0].id)
    store.pause("default")
    client.hset("rt:edits:gate:b", "served_until", 1)
    kit.open(2, 0.0)
    assert set(client.hgetall("rt:edits:gate")).isdisjoint({"closed", "mode", "open_until", "accounts"})


# What others see


def test_a_dry_run_knows_all_accounts(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """The wait is that of the accounts that the tenant's jobs may go to."""
    kit.open_accounts(account("own", 2, tenants=("acme",)), account("a", 3), account("b", 5, rate_per_s=0.5))
    assert queue_position(client, "acme", 0.0).lane.limit == 2
    other = queue_position(client, "other", 0.0)
    assert (other.lane.limit, other.per_s(2.0), other.binding) == (8, 2.0, "none")
    assert kit.lanes.numbers("edits").limit == 10
    store.pause("own")
    assert queue_position(client, "acme", 0.0).binding == "paused"
    assert kit.lanes.numbers("edits").limit == 8


# The choice under every mixture


@st.composite
def mixtures(draw: st.DrawFn) -> list[Account]:
    """Return some accounts: limits, tiers, weights, owners, fallbacks."""
    names = ["default", "b", "c", "d"][: draw(st.integers(1, 4))]
    return [
        account(
            name,
            draw(st.integers(1, 4)),
            tier=draw(st.integers(1, 2)),
            weight=draw(st.sampled_from([0.5, 1.0, 3.0])),
            tenants=tuple(draw(st.sets(st.sampled_from(["t1", "t2"]), max_size=2))) if draw(st.booleans()) else (),
            shared_fallback=draw(st.sampled_from(["never", "free_only", "always"])),
        )
        for name in names
    ]


def may_use(tenant: str, one: Account, accounts: Sequence[Account]) -> bool:
    own = [other for other in accounts if tenant in other.tenants]
    if one.tenants:
        return one in own
    return not any(other.shared_fallback == "never" for other in own)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    accounts=mixtures(),
    moves=st.lists(st.tuples(st.sampled_from(["put", "end", "end", "end", "toggle"]), st.integers(0, 99)), max_size=60),
)
def test_the_choice_is_right_whatever_comes(client: Any, accounts: list[Account], moves: list[tuple[str, int]]) -> None:
    """
    No limit is exceeded, no job is on an account that its tenant may not use, no usable slot is idle while a job waits
    for it, no higher tier is used while a lower one had room, and every job that has an account runs in the end.
    """
    client.flushdb()
    kit, store = LaneKit(client), AccountStore(client)
    kit.open_accounts(*accounts)
    by_id, paused, tenants = {one.id: one for one in accounts}, set[str](), ("t1", "t2", "t3", "t4")

    def check() -> None:
        records = kit.jobs.records(kit.dispatched())
        held = Counter(record.account for record in records)
        assert all(held[name] <= by_id[name].limit for name in held)
        assert all(may_use(record.spec.tenant, by_id[record.account], accounts) for record in records)
        for tenant in tenants:
            if client.zcard(f"rt:edits:backlog:{tenant}"):
                usable = [one for one in accounts if may_use(tenant, one, accounts) and one.id not in paused]
                assert all(held[one.id] >= one.limit for one in usable), (tenant, held)

    for move, number in moves:
        if move == "put":
            several(kit, 1 + number % 5, tenants[number % 4])
        elif move == "toggle":
            name = accounts[number % len(accounts)].id
            (store.resume if name in paused else store.pause)(name)
            paused ^= {name}
            kit.make_due("edits", "slots")
            kit.rescue()
        elif dispatched := kit.dispatched():
            succeed(kit, post(kit, dispatched[number % len(dispatched)]))
        check()
    for name in paused:
        store.resume(name)
    paused.clear()
    kit.rescue()
    for _ in range(400):
        check()
        if not (dispatched := kit.dispatched()):
            break
        succeed(kit, post(kit, dispatched[0]))
    for tenant in tenants:
        if any(may_use(tenant, one, accounts) for one in accounts):
            assert client.zcard(f"rt:edits:backlog:{tenant}") == 0, f"{tenant} starves"
