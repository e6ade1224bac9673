"""
The retry policy for random outcomes: the backoff is exact, jitter is bounded, and no POST exceeds the attempts, the
charges or the deadline.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from retouch import policy as rules
from retouch.outcomes import (
    Busy,
    Cancel,
    CancelledFirst,
    DeadlinePassed,
    Fail,
    Failed,
    GenerationLost,
    Image,
    ImageRejected,
    ImageUnavailable,
    LeaseLost,
    Outcome,
    Poll,
    Processing,
    Refused,
    Retry,
    Stale,
    Stored,
    Succeed,
    TooManyCrashes,
    Unknown,
)
from retouch.policy import Attempt, RetryPolicy, backoff_s, decide, jittered, poll_s

NOW = 1_000_000.0
IMAGE = Image("a.png", "a", "PNG", 1, 1, 1)
ASKED = Processing("7", "https://endpoint.example/fetch/7", 0.0)

seconds = st.floats(0, 100_000)
draws = st.floats(0, 1, exclude_max=True)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 100),
    backoff_base_s=st.floats(0.01, 3_600),
    backoff_cap_s=st.floats(3_600, 86_400),
    max_charges=st.integers(1, 10),
)
attempts = st.builds(
    Attempt,
    number=st.integers(0, 120),
    charges=st.integers(0, 12),
    polls=st.integers(0, 10_000),
    waits=st.integers(0, 10_000),
    deadline_at=st.floats(NOW - 100, NOW + 100_000),
)
words = st.text(max_size=20)
repeating: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Failed, words, seconds), st.builds(Unknown, words, seconds), st.builds(GenerationLost, words)
)
waiting: st.SearchStrategy[Outcome] = st.one_of(
    repeating, st.builds(Busy, words, words, seconds), st.builds(ImageUnavailable, words)
)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    waiting,
    st.just(ASKED),
    st.builds(Refused, words, words, st.booleans()),
    st.builds(ImageRejected, words),
    st.builds(TooManyCrashes, st.integers(10, 20)),
    st.sampled_from([Stored(IMAGE), Stale(), CancelledFirst(), DeadlinePassed()]),
)


@given(st.integers(-3, 200), policies)
def test_the_base_of_a_backoff_is_exact(number: int, policy: RetryPolicy) -> None:
    """Without jitter the backoff is the base, doubled for each attempt after the first, up to the cap."""
    exact = policy.backoff_base_s * 2.0 ** (max(number, 1) - 1)
    assert backoff_s(number, policy) == min(exact, policy.backoff_cap_s)


@given(seconds, draws, st.floats(0.01, 100_000))
def test_jitter_stays_within_a_fifth_and_inside_the_cap(delay_s: float, random: float, cap_s: float) -> None:
    """Jitter changes a wait by at most 20 %, and the wait never exceeds the cap."""
    spread = jittered(delay_s, random, cap_s)
    assert spread <= cap_s
    assert min(cap_s, delay_s * 0.8) - 1e-6 <= spread <= delay_s * 1.2 + 1e-6


@given(st.floats(0, 10_000))
def test_the_first_poll_waits_for_the_eta(eta_s: float) -> None:
    """The first poll is due at the endpoint's eta, but not before one second and not after one minute."""
    assert poll_s(0, eta_s) == min(max(eta_s, 1.0), 60.0)


@given(st.integers(1, 100_000), st.floats(0, 10_000))
def test_waits_between_polls_grow_from_two_to_ten_seconds(polls: int, eta_s: float) -> None:
    """From the second poll on, waits do not depend on the eta: they grow from 2 s to 10 s."""
    assert poll_s(1, eta_s) == 2.0
    assert 2.0 <= poll_s(polls, eta_s) <= poll_s(polls + 1, eta_s) <= 10.0


@given(outcomes, attempts, policies, draws)
def test_nothing_waits_beyond_the_deadline(
    outcome: Outcome, attempt: Attempt, policy: RetryPolicy, random: float
) -> None:
    """No wait ends after the deadline, except for waits to download an image that is paid for."""
    decision = decide(outcome, attempt, policy, NOW, random)
    brings_home = isinstance(outcome, ImageUnavailable) and attempt.waits < rules.FETCH_TRIES
    if isinstance(decision, Retry | Poll) and not brings_home:
        assert 0 <= decision.delay_s <= attempt.deadline_at - NOW + 1e-6


@given(repeating, attempts, policies, draws)
def test_no_post_beyond_attempts_or_charges(
    outcome: Outcome, attempt: Attempt, policy: RetryPolicy, random: float
) -> None:
    """A POST is repeated only while both an attempt and a charge are left."""
    spent = attempt.charges >= policy.max_charges or attempt.number >= policy.max_attempts
    decision = decide(outcome, attempt, policy, NOW, random)
    assert isinstance(decision, Fail) if spent else isinstance(decision, Fail | Retry)


@given(repeating, attempts, policies, draws)
def test_a_wait_that_the_endpoint_asks_for_is_kept(
    outcome: Outcome, attempt: Attempt, policy: RetryPolicy, random: float
) -> None:
    """A retry waits at least as long as the endpoint asked for, and at least four fifths of the backoff."""
    decision = decide(outcome, attempt, policy, NOW, random)
    least_s = {Failed: "wait_s", Unknown: "again_in_s"}.get(type(outcome))
    if isinstance(decision, Retry):
        assert decision.delay_s >= (getattr(outcome, least_s) if least_s else 0.0)
        assert decision.delay_s >= 0.8 * backoff_s(attempt.number, policy) - 1e-6


@given(attempts, policies, draws, words)
def test_a_paid_answer_is_kept_while_it_may_yield(
    attempt: Attempt, policy: RetryPolicy, random: float, message: str
) -> None:
    """A paid answer is kept until its download has failed FETCH_TRIES times."""
    decision = decide(ImageUnavailable(message), attempt, policy, NOW, random)
    forgets = isinstance(decision, Fail | Retry) and decision.drop_checkpoint
    assert not (forgets and attempt.waits < rules.FETCH_TRIES)


@given(attempts, policies, draws, words)
def test_a_store_of_ours_that_is_full_is_no_reason_to_pay_again(
    attempt: Attempt, policy: RetryPolicy, random: float, message: str
) -> None:
    """
    While our store fails, the job keeps its checkpoint and downloads the image again. It fails only if its deadline has
    passed and its FETCH_TRIES downloads are used.
    """
    decision = decide(ImageUnavailable(message, our_store_failed=True, images=(IMAGE,)), attempt, policy, NOW, random)
    assert isinstance(decision, Retry | Fail)
    assert not decision.drop_checkpoint
    ends = attempt.waits >= rules.FETCH_TRIES and attempt.deadline_at <= NOW
    assert isinstance(decision, Fail) == ends
    assert decision.code == ("result_not_stored" if ends else "result_not_yet")
    if isinstance(decision, Retry):  # until the deadline it uses up none of the tries that a download is given
        assert decision.counts_as_wait == (attempt.deadline_at <= NOW)


@given(attempts, policies, draws, words)
def test_what_can_yield_nothing_is_forgotten(
    attempt: Attempt, policy: RetryPolicy, random: float, message: str
) -> None:
    """
    After a lost or failed generation, the job drops its checkpoint. A job that fails at its deadline may keep its
    checkpoint.
    """
    for outcome in (GenerationLost(message), Failed(message, seen_by_poll=True)):
        decision = decide(outcome, attempt, policy, NOW, random)
        late = isinstance(decision, Fail) and decision.code == "deadline_passed"
        assert late or (isinstance(decision, Fail | Retry) and decision.drop_checkpoint)


@given(attempts, policies, draws, seconds)
def test_being_busy_costs_no_attempt(attempt: Attempt, policy: RetryPolicy, random: float, wait_s: float) -> None:
    """A full queue uses no attempt. The job waits at least as long as the endpoint asks, or fails at its deadline."""
    decision = decide(Busy("queue_full", "full", wait_s), attempt, policy, NOW, random)
    assert isinstance(decision, Retry | Fail)
    assert decision.refund if isinstance(decision, Retry) else decision.code == "deadline_passed"
    assert not isinstance(decision, Retry) or wait_s <= decision.delay_s <= wait_s * 1.2


@given(attempts, policies, draws)
def test_ends_that_need_no_thought(attempt: Attempt, policy: RetryPolicy, random: float) -> None:
    """A stored image leads to Succeed, a refusal to Fail, a lost lease to LeaseLost, and a cancelled job to Cancel."""
    refused = decide(Refused("bad_key", "Invalid Api Key"), attempt, policy, NOW, random)
    assert refused == Fail("bad_key", "Invalid Api Key", retryable=False)
    assert decide(Stored(IMAGE), attempt, policy, NOW, random) == Succeed(IMAGE)
    assert decide(Stale(), attempt, policy, NOW, random) == LeaseLost()
    assert decide(CancelledFirst(), attempt, policy, NOW, random) == Cancel()


@given(attempts, policies, draws)
def test_processing_is_polled_until_the_deadline(attempt: Attempt, policy: RetryPolicy, random: float) -> None:
    """A job that the endpoint is processing is polled until the deadline, after any number of polls."""
    decision = decide(ASKED, attempt, policy, NOW, random)
    assert isinstance(decision, Poll) == (attempt.deadline_at > NOW)
    on_time = decide(ASKED, replace(attempt, deadline_at=NOW + 1), policy, NOW, random)
    assert isinstance(on_time, Poll)
    assert on_time.checkpoint == ASKED


@given(attempts, policies, draws)
def test_our_copy_is_sent_at_once_and_costs_no_attempt(attempt: Attempt, policy: RetryPolicy, random: float) -> None:
    """
    If the endpoint could not read a picture, our copy is sent at once, without using an attempt. After the deadline the
    job fails.
    """
    decision = decide(Refused("image_unfetchable", "unread", retry_with_copy=True), attempt, policy, NOW, random)
    if attempt.deadline_at < NOW:
        assert isinstance(decision, Fail)
    else:
        assert decision == Retry(0.0, "image_unfetchable", "unread", refund=True)
