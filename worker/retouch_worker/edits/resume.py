"""Where an attempt at a job begins, as a pure function of the job's record."""

from __future__ import annotations

from retouch.outcomes import (
    CancelledFirst,
    DeadlinePassed,
    NotStarted,
    Outcome,
    Processing,
    Ready,
    TooManyCrashes,
    Unknown,
)
from retouch.policy import RetryPolicy
from retouch.store.records import Claim

CRASHES_MOST = 10
FILTER_MARGIN_S = 0.5


def resume(claim: Claim, policy: RetryPolicy, spam_filter_s: float) -> Outcome:
    """
    Return the first step of an attempt at a claimed job: `NotStarted` (POST), `Processing` (poll) or `Ready`
    (download).

    If there is nothing to do now, return the outcome that ends the attempt.

    Failure policy: an intent without an answer may have cost money. The POST is repeated only if charges and attempts
    are left, and only when the endpoint's spam filter accepts the same body again.
    """
    if claim.crashes >= CRASHES_MOST:
        return TooManyCrashes(claim.crashes)
    # Checked before the cancellation: a paid answer is used even if the job was cancelled meanwhile.
    if isinstance(claim.checkpoint, Ready | Processing):
        return claim.checkpoint
    if claim.cancelled:
        return CancelledFirst()
    lost = _lost_answer(claim)
    if lost and (claim.possible_charges >= policy.max_charges or claim.number >= policy.max_attempts):
        return lost
    if claim.now_at >= claim.deadline_at:
        return DeadlinePassed()
    if lost is None:
        return NotStarted()
    again_in_s = claim.charges[-1].intent_at + spam_filter_s + FILTER_MARGIN_S - claim.now_at
    return Unknown(lost.message, again_in_s) if again_in_s > 0 else NotStarted()


def _lost_answer(claim: Claim) -> Unknown | None:
    last = claim.charges[-1] if claim.charges[claim.forgiven :] else None
    if last is None or last.certain or not last.possible:
        return None
    return Unknown("a POST was sent and its answer is not on record")
