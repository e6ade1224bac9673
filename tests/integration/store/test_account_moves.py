"""Tests with real scripts and several accounts: which jobs move to another account, and which account is polled."""

from __future__ import annotations

from retouch.outcomes import Busy, GenerationLost, ImageUnavailable, Processing, Ready, Unknown
from retouch.store.accounts import AccountStore
from tests.account_kit import ASKED, FULL, READY, accounts_of, post, reason, refuse, settle, several, succeed
from tests.lane_kit import LaneKit, account


def test_a_full_queue_moves_the_job_at_once(kit: LaneKit) -> None:
    """
    When the queue of one account is full, the job moves to another account at once. The refusal uses no attempt and
    records no event.
    """
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
    """If no other account is open, a refused job waits without a slot, as in a lane with one account."""
    kit.open_accounts(account("a", 1), account("b", 1))
    store.pause("b")
    (job,) = several(kit, 1)
    assert refuse(kit, post(kit, job.id), FULL, "full") == []
    assert kit.state(job.id) == "retrying"


def test_a_refused_job_does_not_come_back_at_once(kit: LaneKit) -> None:
    """
    A refused job does not return to the same account until its wait is over, even if no other account has a free slot.
    """
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
    """
    A POST whose answer is lost counts as a charge, even if the next POST goes to another account. `max_charges` limits
    the POSTs to all accounts together.
    """
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
    """A processing job gets a slot only at the account of its POST, even after a retry or the death of its worker."""
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
    """A download needs no key, so a paid image is downloaded even if its account is closed."""
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
    """
    When two POSTs of a job are processing, each POST is polled at its own account. The first POST is polled after the
    generation of the second POST is lost.
    """
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
