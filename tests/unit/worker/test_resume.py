"""
Tests of the step with which an attempt begins: single cases, and random claims. No random claim leads to a POST beyond
the limits.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from retouch.outcomes import CancelledFirst, DeadlinePassed, NotStarted, Processing, Ready, TooManyCrashes, Unknown
from retouch.policy import RetryPolicy
from retouch.store.records import Charge, Claim, JobSpec
from retouch_worker.edits.resume import CRASHES_MOST, FILTER_MARGIN_S, resume
from tests.claim_kit import fresh_claim

NOW, FILTER_S = 1_000_000.0, 30.0
READY = Ready(("https://out.example/a.png",))
ASKED = Processing("7", "https://endpoint.example/fetch/7", 1.0)
POLICY = RetryPolicy(max_attempts=5, max_charges=2)
FRESH = fresh_claim(JobSpec("acme", {}, 3_600.0), NOW)


def lost(*ages_s: float) -> list[Charge]:
    """Return one charge without an answer for each age in seconds."""
    return [Charge(number, NOW - age_s) for number, age_s in enumerate(ages_s, 1)]


def test_a_fresh_job_is_posted() -> None:
    """A job without charges and checkpoint is POSTed."""
    assert resume(FRESH, POLICY, FILTER_S) == NotStarted()


def test_a_paid_answer_is_resumed_whatever_else_is_true() -> None:
    """An attempt begins with the checkpoint, even if the job is cancelled, past its deadline or out of attempts."""
    for checkpoint in (READY, ASKED):
        claim = replace(
            FRESH, checkpoint=checkpoint, cancelled=True, deadline_at=NOW - 1, charges=lost(90, 60), number=9
        )
        assert resume(claim, POLICY, FILTER_S) == checkpoint


def test_a_job_that_kills_its_workers_ends() -> None:
    """
    After CRASHES_MOST crashes a job ends as TooManyCrashes, even with a checkpoint. After one crash less it continues.
    """
    claim = replace(FRESH, crashes=CRASHES_MOST, checkpoint=READY)
    assert resume(claim, POLICY, FILTER_S) == TooManyCrashes(CRASHES_MOST)
    assert resume(replace(claim, crashes=CRASHES_MOST - 1), POLICY, FILTER_S) == READY


def test_a_cancelled_job_asks_for_nothing() -> None:
    """A cancelled job without a paid answer ends as cancelled."""
    assert resume(replace(FRESH, cancelled=True, charges=lost(90)), POLICY, FILTER_S) == CancelledFirst()


def test_a_job_past_its_deadline_asks_for_nothing() -> None:
    """A job without a paid answer is not POSTed after its deadline."""
    assert resume(replace(FRESH, deadline_at=NOW), POLICY, FILTER_S) == DeadlinePassed()


def test_a_lost_answer_waits_out_the_spam_filter() -> None:
    """After a lost answer, the job waits for the time of the spam filter. Then it is POSTed again."""
    outcome = resume(replace(FRESH, charges=lost(10), number=1), POLICY, FILTER_S)
    assert outcome == Unknown("a POST was sent and its answer is not on record", FILTER_S - 10 + FILTER_MARGIN_S)
    assert resume(replace(FRESH, charges=lost(31), number=1), POLICY, FILTER_S) == NotStarted()


def test_a_refusal_is_followed_by_our_copy_wherever_it_stopped() -> None:
    """
    After the endpoint refused a picture, the next POST sends our copy of the picture. If this POST has no answer on
    record, the answer counts as lost.
    """
    refused = [Charge(1, NOW - 5, "refused", NOW - 4)]
    claim = replace(FRESH, reads_copy=True, charges=refused, number=1)
    assert resume(claim, POLICY, FILTER_S) == NotStarted()
    again = replace(claim, charges=[*refused, Charge(2, NOW - 1)])
    assert resume(again, POLICY, FILTER_S) == Unknown(
        "a POST was sent and its answer is not on record", FILTER_S - 1 + FILTER_MARGIN_S
    )
    assert isinstance(resume(again, replace(POLICY, max_charges=1), FILTER_S), Unknown)


def test_a_lost_answer_at_the_bound_is_for_a_person() -> None:
    """If a lost answer used the last charge or attempt, the outcome is unknown, even past the deadline."""
    for policy in (replace(POLICY, max_charges=1), replace(POLICY, max_attempts=1)):
        claim = replace(FRESH, charges=lost(90), number=1, deadline_at=NOW - 1)
        assert resume(claim, policy, FILTER_S) == Unknown("a POST was sent and its answer is not on record")


def test_an_answer_that_cost_nothing_is_no_lost_answer() -> None:
    """After a refused or failed POST, the next POST does not wait for the spam filter, even with max_charges=1."""
    for kind in ("refused", "failed"):
        claim = replace(FRESH, charges=[Charge(1, NOW - 1, kind)], number=1)
        assert resume(claim, replace(POLICY, max_charges=1), FILTER_S) == NotStarted()


def test_a_replay_forgives_the_charges_before_it() -> None:
    """A replayed job may POST again, since the lost answers before the replay do not count."""
    claim = replace(FRESH, charges=lost(90), forgiven=1)
    assert resume(claim, replace(POLICY, max_charges=1), FILTER_S) == NotStarted()


charges = st.lists(
    st.builds(
        Charge,
        fence=st.integers(1, 9),
        intent_at=st.floats(NOW - 100, NOW),
        kind=st.sampled_from(["", "unknown", "succeeded", "processing", "refused", "failed"]),
    ),
    max_size=5,
)
claims = st.builds(
    replace,
    st.just(FRESH),
    charges=charges,
    forgiven=st.integers(0, 5),
    number=st.integers(0, 9),
    crashes=st.integers(0, 12),
    cancelled=st.booleans(),
    checkpoint=st.sampled_from([None, READY, ASKED]),
    deadline_at=st.floats(NOW - 10, NOW + 10),
)


@given(claims, st.integers(1, 9), st.integers(1, 4))
def test_never_a_post_beyond_the_bounds(claim: Claim, max_attempts: int, max_charges: int) -> None:
    """
    A POST begins only before the deadline, without a checkpoint and without a cancellation. After a lost answer, a
    charge and an attempt must be left, and the spam filter's time must be over.
    """
    policy = replace(POLICY, max_attempts=max_attempts, max_charges=max_charges)
    if resume(claim, policy, FILTER_S) != NotStarted():
        return
    counted = claim.charges[claim.forgiven :]
    assert claim.checkpoint is None
    assert not claim.cancelled
    assert claim.now_at < claim.deadline_at
    if counted and counted[-1].kind in ("", "unknown"):
        assert claim.possible_charges < max_charges
        assert claim.number < max_attempts
        assert claim.now_at - counted[-1].intent_at >= FILTER_S
