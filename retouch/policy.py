"""
The retry policy, and `decide`, the only function that decides what follows an outcome.

All functions here are pure: time and randomness are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

from retouch.outcomes import (
    AccountRefused,
    Busy,
    Cancel,
    CancelledFirst,
    DeadlinePassed,
    Decision,
    Fail,
    Failed,
    GateClosed,
    GenerationLost,
    ImageRejected,
    ImageUnavailable,
    LeaseLost,
    NotStarted,
    Outcome,
    Poll,
    Processing,
    Ready,
    Refused,
    Retry,
    Stale,
    Stored,
    Succeed,
    TooManyCrashes,
    Unknown,
)

JITTER = 0.2
POLL_FIRST_S = (1.0, 60.0)
POLL_BASE_S, POLL_GROWTH, POLL_CAP_S = 2.0, 1.5, 10.0
GATE_WAIT_S = 1.0
ACCOUNT_WAIT_S = 5.0
FETCH_TRIES, FETCH_BASE_S, FETCH_CAP_S = 20, 1.0, 300.0
OUR_STORE_S = 5.0

GATES = {
    "account_closed": "the account of the endpoint is closed; the job waits for another one, or until it is opened",
    "account_not_held": "the worker no longer holds the key of the job's account; the job waits for one that does",
    "account_paused": "the account of the endpoint is paused or drains; the job waits for another one or for its end",
    "account_spent": "the account's calls of today are spent; the job waits for another account, or for a new day",
    "budget_spent": "the tenant's calls of today are spent; the job waits for a new day or a larger budget",
    "endpoint_down": "the endpoint is down; the job waits until a probe gets through",
    "not_on_disk": "Redis did not confirm that the intent is on its disk, so nothing was POSTed; the job waits "
    "until it does: look at its disk, and whether it is append-only",
}
"""Name of each gate that may forbid a POST after the dispatch → the message for the job's record."""

_OF_THE_ACCOUNT = frozenset(
    {
        *("queue_full", "endpoint_unreachable", "endpoint_down", "bad_key", "forbidden", "no_credits"),
        *("account_closed", "account_not_held", "account_paused", "account_spent"),
    }
)
"""Codes of outcomes that cost nothing and concern one account: with several accounts, the job moves at once."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    How often a job may be tried, and how many seconds it waits between attempts.

    `max_attempts` is the total number of attempts. `max_charges` bounds the POSTs that may have been billed.
    """

    max_attempts: int = 5
    backoff_base_s: float = 2.0
    backoff_cap_s: float = 300.0
    max_charges: int = 2


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    The facts about one attempt that a decision needs.

    `number` counts from 1; it is 0 before the first POST. `charges` is the number of POSTs that may have been billed.
    `polls` is the number of polls so far, and `waits` is the number of waits for an image. `deadline_at` is in Unix
    seconds. `may_move` is true if the endpoint has several accounts.
    """

    number: int
    charges: int
    polls: int
    waits: int
    deadline_at: float
    may_move: bool = False


def backoff_s(number: int, policy: RetryPolicy) -> float:
    """
    Return the seconds to wait after attempt `number`, without jitter.

    The wait is `backoff_base_s` after the first attempt and doubles with each further attempt, up to `backoff_cap_s`.
    """
    return float(min(policy.backoff_cap_s, policy.backoff_base_s * 2.0 ** min(max(number, 1) - 1, 60)))


def jittered(delay_s: float, random: float, cap_s: float = float("inf")) -> float:
    """Return `delay_s`, made up to 20 % shorter or longer, and at most `cap_s`. `random` is in [0, 1)."""
    return min(cap_s, delay_s * (1 + JITTER * (2 * random - 1)))


def poll_s(polls: int, eta_s: float) -> float:
    """
    Return the seconds to wait before the next poll, after `polls` polls.

    The first wait is the endpoint's eta, at least 1 s and at most 60 s. Later waits grow from 2 s to 10 s.
    """
    if polls == 0:
        return min(max(eta_s, POLL_FIRST_S[0]), POLL_FIRST_S[1])
    return float(min(POLL_CAP_S, POLL_BASE_S * POLL_GROWTH ** min(polls - 1, 20)))


def decide(  # noqa: C901, PLR0912 - one branch for each outcome, all in one place
    outcome: Outcome, attempt: Attempt, policy: RetryPolicy, now: float, random: float
) -> Decision:
    """
    Return the decision that follows an outcome; `now` is in Unix seconds, `random` in [0, 1).

    Failure policy: no POST is sent while a paid answer can still yield its image. A POST whose answer is unknown is
    repeated only while `max_charges` permits. Otherwise the job fails, and a person decides.
    """
    match outcome:
        case Stored(image, others):
            return Succeed(image, others)
        case Stale():
            return LeaseLost()
        case CancelledFirst():
            return Cancel()
        case DeadlinePassed():
            return Fail("deadline_passed", "the job was not done by its deadline", retryable=True)
        case TooManyCrashes(crashes):
            return Fail("worker_lost", f"{crashes} workers died while they ran this job", retryable=True)
        case Refused(code, message, retry_with_copy=True):
            return _wait(Retry(0.0, code, message, refund=True), attempt, now)
        case Refused(code, message):
            return Fail(code, message, retryable=False)
        case ImageRejected(message):
            return Fail("result_rejected", message, retryable=True, drop_checkpoint=True)
        case Processing():
            return _poll_later(outcome, attempt, now)
        case Busy(code, message, wait_s):
            # Never sooner than the endpoint asked for.
            return _wait_or_move(wait_s * (1 + JITTER * random), code, message, attempt, now)
        case AccountRefused(code, message):
            return _wait_or_move(ACCOUNT_WAIT_S, code, message, attempt, now)
        case GateClosed(gate):
            return _wait_or_move(GATE_WAIT_S, gate, GATES[gate], attempt, now, refund=gate == "not_on_disk")
        # Our own store can be repaired, so the job waits for it until its deadline and not only a number of times.
        case ImageUnavailable(message, our_store_failed=True) if now < attempt.deadline_at:
            return Retry(jittered(OUR_STORE_S, random), "result_not_yet", message, counts_as_wait=False)
        case ImageUnavailable(message) if attempt.waits < FETCH_TRIES:
            delay_s = min(FETCH_CAP_S, FETCH_BASE_S * 2.0**attempt.waits)
            return Retry(jittered(delay_s, random, FETCH_CAP_S), "result_not_yet", message)
        case ImageUnavailable(message, our_store_failed=True):
            return Fail("result_not_stored", message, retryable=True)
        case ImageUnavailable(images=(image, *others)):
            return Succeed(image, tuple(others))
        case ImageUnavailable(message) | GenerationLost(message):
            return _post_again("result_lost", message, attempt, policy, now, random, drop_checkpoint=True)
        case Unknown(message, again_in_s):
            return _post_again("outcome_unknown", message, attempt, policy, now, random, least_s=again_in_s)
        case Failed(message, wait_s, seen_by_poll):
            return _post_again(
                "endpoint_failed", message, attempt, policy, now, random, least_s=wait_s, drop_checkpoint=seen_by_poll
            )
        case NotStarted() | Ready():
            raise AssertionError(f"an attempt cannot end as {type(outcome).__name__}")


def _poll_later(outcome: Processing, attempt: Attempt, now: float) -> Decision:
    """Return the next poll, or a failure if the deadline has passed."""
    # Until its deadline a paid request is polled, however long the endpoint takes.
    left_s = attempt.deadline_at - now
    if left_s <= 0:
        return Fail("deadline_passed", "the endpoint was still processing at the job's deadline", retryable=True)
    return Poll(min(poll_s(attempt.polls, outcome.eta_s), left_s), outcome)


def _wait(retry: Retry, attempt: Attempt, now: float) -> Decision:
    """Return the retry, or a failure if its wait would end after the deadline."""
    # The next attempt would be past the deadline and fail at once, so the job need not wait for it.
    if now + retry.delay_s > attempt.deadline_at:
        return Fail("deadline_passed", f"no time is left for another attempt; last: {retry.message}", retryable=True)
    return retry


def _wait_or_move(
    delay_s: float, code: str, message: str, attempt: Attempt, now: float, *, refund: bool = True
) -> Decision:
    """
    Return a retry after an outcome that cost nothing, or a failure if the wait would end after the deadline.

    If there are several accounts and `code` concerns only the present one, the job moves to another account.
    """
    moves = attempt.may_move and code in _OF_THE_ACCOUNT
    return _wait(Retry(delay_s, code, message, refund, counts_as_wait=False, moves=moves), attempt, now)


def _post_again(
    code: str,
    message: str,
    attempt: Attempt,
    policy: RetryPolicy,
    now: float,
    random: float,
    *,
    least_s: float = 0.0,
    drop_checkpoint: bool = False,
) -> Decision:
    """
    Return a retry that POSTs again, or a failure if no attempt, no charge or no time is left.

    The wait before the POST is the backoff, but at least `least_s` seconds.
    """
    # Charges are checked before attempts, so that the message names the limit which only a person should raise.
    if attempt.charges >= policy.max_charges:
        spent = f"{attempt.charges} of at most {policy.max_charges} charges may have been made"
        return Fail(code, f"{message}; {spent}", retryable=True, drop_checkpoint=drop_checkpoint)
    if attempt.number >= policy.max_attempts:
        return Fail(
            code,
            f"{message}; attempt {attempt.number} of {policy.max_attempts}",
            retryable=True,
            drop_checkpoint=drop_checkpoint,
        )
    delay_s = max(least_s, jittered(backoff_s(attempt.number, policy), random, policy.backoff_cap_s))
    return _wait(Retry(delay_s, code, message, drop_checkpoint=drop_checkpoint), attempt, now)
