"""Tests with real scripts of the ledger of charges: useful, repeated, wasted or unknown, by tenant, day and tag."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest

from retouch.outcomes import Cancel, Decision, Fail, Processing, Succeed
from retouch.store import keys
from retouch.store.ledger import Ledger, day_of
from tests.charge_kit import AGAIN, GIVE_UP, READY, called_again, one_job, posted, split, tried
from tests.lane_kit import IMAGE, LaneKit


@pytest.mark.parametrize(
    ("answers", "end", "booked"),
    [
        (["succeeded"], Succeed(IMAGE), {"useful": 1}),
        (["unknown", "succeeded"], Succeed(IMAGE), {"useful": 1, "unknown": 1}),
        (["", "succeeded"], Succeed(IMAGE), {"useful": 1, "unknown": 1}),
        (["processing", "processing"], Succeed(IMAGE), {"useful": 1, "repeated": 1}),
        (["refused", "failed", "succeeded"], Succeed(IMAGE), {"useful": 1}),
        (["processing"], GIVE_UP, {"wasted": 1}),
        (["unknown", "processing"], GIVE_UP, {"wasted": 1, "unknown": 1}),
        (["unknown"], GIVE_UP, {"unknown": 1}),
        (["refused", "failed"], GIVE_UP, {}),
        (["processing"], Cancel(), {"wasted": 1}),
    ],
)
def test_what_the_charges_of_a_job_were_good_for(
    kit: LaneKit, ledger: Ledger, answers: Sequence[str], end: Decision, booked: dict[str, int]
) -> None:
    """
    When a job ends, each charge is booked once as useful, repeated, wasted or unknown. Free answers are not booked.
    """
    job = one_job(kit)
    for kind in answers[:-1]:
        tried(kit, job, kind, AGAIN)
        assert split(ledger) == {}
        assert called_again(kit) == [job]
    tried(kit, job, answers[-1], end)
    assert split(ledger) == booked


def test_a_late_answer_moves_a_charge_to_its_place(kit: LaneKit, ledger: Ledger) -> None:
    """
    When a late paid answer arrives, the charge of a failed job changes from unknown to wasted. When the job then
    succeeds, the charge becomes useful.
    """
    job = one_job(kit)
    frozen = posted(kit, job)
    assert called_again(kit) == [job]
    kit.finish(job, GIVE_UP)
    assert split(ledger) == {"unknown": 1}
    messages, *_ = kit.jobs.answer(frozen, "succeeded", READY)
    assert ("edits", job) in messages
    assert split(ledger) == {"wasted": 1}
    kit.finish(job, Succeed(IMAGE))
    assert split(ledger) == {"useful": 1}


def test_a_late_answer_during_the_last_call_keeps_the_job_alive(kit: LaneKit, ledger: Ledger) -> None:
    """When a late paid answer arrives before the last POST fails, the job continues from the late answer."""
    job = one_job(kit)
    frozen = posted(kit, job)
    assert called_again(kit) == [job]
    second = posted(kit, job)
    kit.jobs.answer(frozen, "succeeded", READY)
    kit.jobs.answer(second, "unknown", None)
    kit.jobs.settle(second, Fail("outcome_unknown", "2 of at most 2 charges", retryable=True))
    assert kit.state(job) == "queued"
    assert called_again(kit) == [job]
    assert kit.claim(job).checkpoint == READY
    assert called_again(kit) == [job]
    kit.finish(job, Succeed(IMAGE))
    assert split(ledger) == {"useful": 1, "unknown": 1}


def test_polls_count_for_the_charge_that_is_in_work(kit: LaneKit, ledger: Ledger) -> None:
    """
    When a late answer to the first POST is `processing`, the first POST is polled, and its charge becomes useful. The
    failed second POST is not charged.
    """
    job = one_job(kit)
    frozen = posted(kit, job)
    assert called_again(kit) == [job]
    tried(kit, job, "failed", AGAIN)
    kit.jobs.answer(frozen, "processing", Processing("7", "https://endpoint.example/fetch/7", 1.0))
    assert called_again(kit) == [job]
    looking = kit.claim(job)
    assert looking.charge_in_work.fence == frozen.fence
    kit.jobs.answer(looking, "succeeded", READY)
    kit.jobs.settle(looking, Succeed(IMAGE))
    assert split(ledger) == {"useful": 1}


@pytest.mark.parametrize(("late", "booked"), [("succeeded", {"useful": 1, "repeated": 1}), ("refused", {"useful": 1})])
def test_a_late_answer_beside_an_image(kit: LaneKit, ledger: Ledger, late: str, booked: dict[str, int]) -> None:
    """
    When a job has its image, a late paid answer to another POST changes the charge of that POST to repeated. A late
    refusal removes that charge.
    """
    job = one_job(kit)
    frozen = posted(kit, job)
    assert called_again(kit) == [job]
    tried(kit, job, "succeeded", Succeed(IMAGE))
    assert split(ledger) == {"useful": 1, "unknown": 1}
    for _ in range(2):  # the reply was lost, and the script ran again
        kit.jobs.answer(frozen, late, READY if late == "succeeded" else None)
        assert split(ledger) == booked
    assert kit.state(job) == "succeeded"


def test_a_replayed_job_counts_its_earlier_charge_as_repeated(kit: LaneKit, ledger: Ledger) -> None:
    """A wasted charge becomes repeated if a replay pays again and gets the image."""
    job = one_job(kit)
    tried(kit, job, "processing", Fail("result_lost", "gone", retryable=True, drop_checkpoint=True))
    assert split(ledger) == {"wasted": 1}
    assert kit.jobs.replay(job)[0] == "replayed"
    tried(kit, job, "succeeded", Succeed(IMAGE))
    assert split(ledger) == {"useful": 1, "repeated": 1}


def test_cancelled_before_and_after_the_charge(kit: LaneKit, ledger: Ledger) -> None:
    """
    The record of a cancelled job says whether the cancel came before or after the charge. An image that arrives after
    the cancel is stored, and its charge is useful.
    """
    early, late = one_job(kit, "early"), one_job(kit, "late")
    assert kit.jobs.cancel(early)[0] == "cancelled"
    claim = posted(kit, late)
    assert kit.jobs.cancel(late)[0] == "requested"
    kit.jobs.answer(claim, "succeeded", READY)
    kit.jobs.settle(claim, Succeed(IMAGE))
    records = kit.jobs.records([early, late])
    assert [(record.state, record.cancelled) for record in records] == [
        ("cancelled", "before_charge"),
        ("cancelled", "after_charge"),
    ]
    assert records[1].images
    assert split(ledger, tenant="early") == {}
    assert split(ledger, tenant="late") == {"useful": 1}


def test_usage_by_tenant_day_and_tag(kit: LaneKit, ledger: Ledger) -> None:
    """The same charges are summed by tenant, by day and by tag, with their cost. A range of other days is empty."""
    for tenant, tags in (("ann", {"order": "17"}), ("ann", {"order": "18"}), ("bob", {"order": "17", "shop": "a:b"})):
        tried(kit, one_job(kit, tenant, tags=tags), "succeeded", Succeed(IMAGE))
    tried(kit, one_job(kit, "bob"), "unknown", GIVE_UP)
    day = datetime.now(UTC).date()
    by_tenant = {row.key: (row.useful, row.unknown, row.amount) for row in ledger.usage(price_per_call=0.5)}
    assert by_tenant == {"ann": (2, 0, 1.0), "bob": (1, 1, 1.0)}
    assert [(row.key, row.useful, row.unknown) for row in ledger.usage(by="day")] == [(day.isoformat(), 3, 1)]
    assert {row.key: row.useful for row in ledger.usage(by="tag")} == {"order=17": 2, "order=18": 1, "shop=a:b": 1}
    assert ledger.usage(until=date(2020, 1, 1)) == []
    assert [row.key for row in ledger.usage(tenant="ann", since=day, until=day)] == ["ann"]


def test_tags_beyond_the_most_of_a_day_are_other(kit: LaneKit, ledger: Ledger, client: Any) -> None:
    """
    When a tenant has 1,000 tags in a day, charges of further tags are booked under `other`. A late answer to such a
    charge corrects `other`. Each tenant has its own count of tags.
    """
    day = day_of(time.time())
    client.hset(keys.ledger_tags("ann", day), mapping={f"order={place}": "1 0 0 0" for place in range(1_000)})
    client.expire(keys.ledger_tags("ann", day), 60)
    tried(kit, one_job(kit, "ann", tags={"order": "5"}), "succeeded", Succeed(IMAGE))
    job = one_job(kit, "ann", tags={"order": "new", "shop": "x"})
    frozen = posted(kit, job)
    assert called_again(kit) == [job]
    kit.finish(job, GIVE_UP)
    rows = {row.key: row for row in ledger.usage(tenant="ann", by="tag")}
    assert (len(rows), rows["order=5"].useful, rows["other"].unknown) == (1_001, 2, 2)
    kit.jobs.answer(frozen, "failed", None)
    assert {row.key: row.unknown for row in ledger.usage(tenant="ann", by="tag")}["other"] == 0
    tried(kit, one_job(kit, "bob", tags={"order": "new"}), "succeeded", Succeed(IMAGE))
    assert [row.key for row in ledger.usage(tenant="bob", by="tag")] == ["order=new"]


def test_usage_of_a_tenant_walks_no_keys(kit: LaneKit, ledger: Ledger, client: Any) -> None:
    """The usage of a tenant is read without a SCAN of all keys."""
    tried(kit, one_job(kit, tags={"order": "1"}), "succeeded", Succeed(IMAGE))
    client.config_resetstat()
    assert [len(ledger.usage(tenant="acme", by=by)) for by in ("tenant", "day", "tag")] == [1, 1, 1]
    assert "cmdstat_scan" not in client.info("commandstats")
