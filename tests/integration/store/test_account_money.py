"""Amounts with several accounts: each charge costs the price of the account that was called, in every sum."""

from __future__ import annotations

import time
from typing import Any

from retouch.events import charge_summary, event_object
from retouch.outcomes import Unknown
from retouch.store.accounts import AccountStore
from retouch.store.history import History
from retouch.store.ledger import CLASSES, Ledger
from retouch.store.stats import read_stats
from tests.account_kit import post, settle, several, succeed, succeeded_elsewhere
from tests.charge_kit import GIVE_UP
from tests.lane_kit import LaneKit, account

USUAL, CHEAP, DEAR = 77.0, 0.01, 0.5


def open_two(kit: LaneKit) -> None:
    kit.open_accounts(account("cheap", 1, price_per_call=CHEAP), account("dear", 1, price_per_call=DEAR))


def lost_at_cheap(kit: LaneKit, store: AccountStore, job: str) -> None:
    """Lose the answer of a job at account `cheap`, and let the next POST go to `dear`."""
    frozen = post(kit, job)
    kit.jobs.answer(frozen, "unknown", None, "alive")
    settle(kit, frozen, Unknown("lost"))
    store.pause("cheap")
    kit.make_due("edits", "timetable")
    kit.rescue()


def charges_of(client: Any) -> dict[str, dict[str, int]]:
    """Return the charges by account that history has counted, without those that are 0."""
    rows = History(client).between_by("account", 0)
    return {
        name: {use: count for use, count in row.charges.items() if count} for name, row in rows.items() if row.charges
    }


def booked(client: Any) -> dict[str, dict[str, int]]:
    """Return the charges by account that are in the ledger, without those that are 0."""
    rows = Ledger(client).usage(by="account")
    return {row.key: {use: getattr(row, use) for use in CLASSES if getattr(row, use)} for row in rows}


def test_history_counts_a_charge_at_the_account_that_was_called(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """A job was charged at two accounts: history, whose sums are the cost in `stats`, has what the ledger has."""
    open_two(kit)
    (job,) = several(kit, 1)
    lost_at_cheap(kit, store, job.id)
    succeed(kit, post(kit, job.id))
    assert booked(client) == {"cheap": {"unknown": 1}, "dear": {"useful": 1}}
    assert charges_of(client) == booked(client)
    stats = read_stats(client, USUAL, time.time() - 60, by="account")
    assert stats.total.cost.amount == CHEAP + DEAR
    assert {row.key: row.cost.amount for row in stats.rows} == {"cheap": CHEAP, "dear": DEAR}
    assert {row.key: row.ended for row in stats.rows if row.ended} == {"dear": {"succeeded": 1}}


def test_a_late_answer_moves_the_charge_of_its_account_in_history(
    kit: LaneKit, client: Any, store: AccountStore
) -> None:
    """A late answer proves that the first of two POSTs was free: history takes the charge from its account."""
    open_two(kit)
    frozen = succeeded_elsewhere(kit, store, "cheap")
    assert charges_of(client) == {"cheap": {"unknown": 1}, "dear": {"useful": 1}}
    kit.jobs.answer(frozen, "failed", None, "alive")
    assert charges_of(client) == {"dear": {"useful": 1}}


def test_a_charge_of_the_time_with_one_account_is_booked_once(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """A job that failed with one account is replayed with several: what was booked before is not booked again."""
    kit.open(1, 0.0)
    (job,) = several(kit, 1)
    first = post(kit, job.id)
    kit.jobs.answer(first, "succeeded", None, "ok")
    kit.jobs.settle(first, GIVE_UP)
    kit.open_accounts(account("default", 1, price_per_call=CHEAP), account("dear", 1, price_per_call=DEAR))
    store.pause("default")
    assert kit.jobs.replay(job.id)[0] == "replayed"
    kit.rescue()
    second = post(kit, job.id)
    kit.jobs.settle(second, GIVE_UP)
    assert store.show("default").charges_today == dict.fromkeys(CLASSES, 0)
    assert booked(client) == {"default": {"wasted": 1}, "dear": {"unknown": 1}}
    assert charges_of(client) == booked(client)


def test_every_sum_of_usage_has_the_prices_of_its_accounts(kit: LaneKit, client: Any, store: AccountStore) -> None:
    """
    Amounts by tenant, day, tag and account add up to the same sum, and to the cost in `stats`. Calls of a time with one
    account have the price of `default`, which is that of the settings.
    """
    kit.open(1, 0.0)
    (old,) = several(kit, 1)
    succeed(kit, post(kit, old.id))
    open_two(kit)
    tagged = kit.new("acme", tags={"team": "x"})
    kit.enqueue(tagged)
    lost_at_cheap(kit, store, tagged.id)
    succeed(kit, post(kit, tagged.id))
    store.resume("cheap")
    (other,) = several(kit, 1, "globex")
    succeed(kit, post(kit, other.id))
    everything = USUAL + CHEAP + DEAR + CHEAP
    ledger = Ledger(client)
    amounts = {row.key: row.amount for row in ledger.usage(price_per_call=USUAL)}
    assert amounts == {"acme": round(USUAL + CHEAP + DEAR, 6), "globex": CHEAP}
    assert {row.key: row.amount for row in ledger.usage(by="tag", price_per_call=USUAL)} == {"team=x": CHEAP + DEAR}
    for by in ("tenant", "day", "account", "day-account"):
        rows = ledger.usage(by=by, price_per_call=USUAL)
        assert round(sum(row.amount for row in rows), 6) == round(everything, 6), by
    assert read_stats(client, USUAL, time.time() - 60).total.cost.amount == round(everything, 6)


def test_one_account_again_has_the_price_of_the_settings(kit: LaneKit, client: Any) -> None:
    """A price in the accounts file ends with the file: after it, calls of `default` have the price of the settings."""
    kit.open_accounts(account("default", 1, price_per_call=DEAR), account("cheap", 1))
    (job,) = several(kit, 1)
    succeed(kit, post(kit, job.id))
    assert [row.amount for row in Ledger(client).usage(price_per_call=USUAL)] == [DEAR]
    kit.serve("default", "cheap", lease_s=-1.0)
    kit.open(1, 0.0)
    assert [row.amount for row in Ledger(client).usage(price_per_call=USUAL)] == [USUAL]
    assert [row.amount for row in Ledger(client).usage(by="account", price_per_call=USUAL)] == [USUAL]


def test_a_job_costs_what_its_accounts_charge(kit: LaneKit, store: AccountStore) -> None:
    """The amount of a job, also in its events, is made of the price that each account had at the POST."""
    open_two(kit)
    (job,) = several(kit, 1)
    lost_at_cheap(kit, store, job.id)
    succeed(kit, post(kit, job.id))
    kit.lanes.open([account("cheap", 1, price_per_call=9.0), account("dear", 1, price_per_call=9.0)])
    record = kit.jobs.record(job.id)
    assert record is not None
    assert charge_summary(record.charges, USUAL) == {"certain": 1, "possible": 2, "amount": CHEAP + DEAR}
    events = {
        entry["type"]: event_object(record, entry, str, USUAL)["data"]["charges"]["amount"]
        for entry in kit.jobs.timeline(job.id)
    }
    assert events["edit.succeeded"] == CHEAP + DEAR
