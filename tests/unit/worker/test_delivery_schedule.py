"""The schedule of delivery attempts, and how the receiver's answers change it."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from retouch_worker.deliveries.schedule import (
    SCHEDULE_S,
    DeliveryOutcome,
    next_delay_s,
    retry_after_s,
    settlement_of,
    undeliverable,
)

NOW = 1_700_000_000.0
MIDDLE = 0.5  # of the jitter: none
draws = st.floats(0, 1, exclude_max=True)
numbers = st.integers(1, 9)
answers = st.builds(
    DeliveryOutcome,
    status=st.none() | st.integers(100, 599),
    trouble=st.sampled_from(["", "timeout", "reset", "not_connected"]),
    retry_after=st.sampled_from(["", "0", "5", "99999999", "soon", "-5", "1e9"]) | st.text(max_size=12),
)


def test_the_schedule_is_the_one_that_is_promised() -> None:
    """
    There are ten attempts over more than 75 hours, with these waits: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24
    h.
    """
    assert sum(SCHEDULE_S) > 75 * 3_600
    assert list(SCHEDULE_S) == [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert next_delay_s(DeliveryOutcome(500), 9, NOW, MIDDLE) == pytest.approx(86_400)
    assert next_delay_s(DeliveryOutcome(500), 10, NOW, MIDDLE) is None


@given(answers, numbers, draws)
def test_a_wait_is_bent_within_bounds(outcome: DeliveryOutcome, number: int, random: float) -> None:
    """
    A wait is at least 0.8 times the schedule, and at least a minute for an overloaded receiver. It is at most 2.4 times
    the schedule, or an hour if that is longer. Without Retry-After and overload, it is at most 1.2 times the schedule.
    """
    base_s = SCHEDULE_S[number - 1]
    delay_s = next_delay_s(outcome, number, NOW, random)
    overloaded = outcome.status in (429, 502, 503, 504) or outcome.trouble == "timeout"
    assert delay_s is not None
    assert delay_s >= max(0.8 * base_s - 1e-6, 60.0 if overloaded else 0.0)
    assert delay_s <= max(2.4 * base_s, 3_600.0)
    if not outcome.retry_after and not overloaded:
        assert delay_s <= 1.2 * base_s + 1e-6


@pytest.mark.parametrize(
    ("outcome", "number", "delay_s"),
    [
        (DeliveryOutcome(500), 1, 5.0),
        (DeliveryOutcome(302), 1, 5.0),
        (DeliveryOutcome(None, "reset"), 1, 5.0),
        (DeliveryOutcome(None, "timeout"), 1, 60.0),
        (DeliveryOutcome(429), 1, 60.0),
        (DeliveryOutcome(503), 2, 300.0),
        (DeliveryOutcome(503, retry_after="120"), 1, 120.0),
        (DeliveryOutcome(503, retry_after="10"), 1, 60.0),
        (DeliveryOutcome(503, retry_after="999999"), 1, 3_600.0),
        (DeliveryOutcome(503, retry_after="999999"), 9, 172_800.0),
        (DeliveryOutcome(500, retry_after="1"), 3, 1_800.0),
        (DeliveryOutcome(500, retry_after=formatdate(NOW + 90, usegmt=True)), 1, 90.0),
        (DeliveryOutcome(500, retry_after=formatdate(NOW - 90, usegmt=True)), 1, 5.0),
    ],
)
def test_how_an_answer_bends_the_schedule(outcome: DeliveryOutcome, number: int, delay_s: float) -> None:
    """
    An overloaded receiver is called again after a minute or later. Retry-After can lengthen a wait up to a limit, and
    never shortens it.
    """
    assert next_delay_s(outcome, number, NOW, MIDDLE) == pytest.approx(delay_s)


@given(st.lists(draws, min_size=9, max_size=9), st.sampled_from([0.0, 3_600.0]))
def test_a_receiver_that_always_asks_for_more_gets_four_days(spread: list[float], waited_s: float) -> None:
    """
    Even if a receiver always asks for longer waits, all waits together take at most four days. No wait is shorter than
    scheduled.
    """
    age_s = 0.0
    for number, random in enumerate(spread, 1):
        least_s = next_delay_s(DeliveryOutcome(503), number, NOW, random)
        delay_s = next_delay_s(DeliveryOutcome(503, retry_after="999999999"), number, NOW, random, age_s)
        assert delay_s is not None
        assert least_s is not None
        assert delay_s >= least_s
        age_s += delay_s + (waited_s if number < 3 else 0.0)
    assert age_s <= 96 * 3_600.0 + 60.0


def test_what_is_left_of_four_days_is_given_to_who_asks() -> None:
    """
    A delivery waits as long as the receiver asks, up to a limit. The limit gets lower as the delivery gets older, but
    the delivery can always wait as long as scheduled.
    """
    outcome = DeliveryOutcome(503, retry_after="999999")
    assert next_delay_s(outcome, 5, NOW, MIDDLE, age_s=3 * 3_600.0) == pytest.approx(36_000.0)
    assert next_delay_s(outcome, 5, NOW, MIDDLE, age_s=8 * 3_600.0) == pytest.approx(23_040.0)
    assert next_delay_s(outcome, 5, NOW, MIDDLE, age_s=80 * 3_600.0) == pytest.approx(18_000.0)


@given(st.text(max_size=30))
@example("0\x1f")
def test_a_retry_after_of_any_text_is_read_or_ignored(text: str) -> None:
    """`retry_after_s` returns a wait of 0 or more, or None, for any text, and never raises."""
    asked_s = retry_after_s(text, NOW)
    assert asked_s is None or asked_s >= 0


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2024 99999999999999999:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
    ],
)
def test_a_retry_after_beyond_all_calendars_is_ignored(date: str) -> None:
    """`retry_after_s` returns None for a date that does not exist."""
    assert retry_after_s(date, NOW) is None


def test_a_retry_after_of_endless_digits_is_ignored_or_clamped() -> None:
    """A Retry-After of thousands of digits counts as the longest wait that is allowed."""
    assert next_delay_s(DeliveryOutcome(503, retry_after="9" * 5_000), 1, NOW, MIDDLE) == pytest.approx(3_600)


@given(answers, st.integers(1, 12), st.booleans(), draws)
def test_what_follows_an_answer(outcome: DeliveryOutcome, number: int, by_hand: bool, random: float) -> None:
    """
    After an answer 2xx, a delivery is delivered. After 410 or the tenth failure it is dead, and after any other answer
    it is retried. Only 410 disables the receiver. A redelivery by hand does not change the receiver's health.
    """
    settlement = settlement_of(outcome, number, by_hand, NOW, random)
    over = "delivered" if outcome.accepted else "dead" if outcome.status == 410 or number > 9 else "retrying"
    assert settlement.move == over
    assert settlement.disable == (outcome.status == 410)
    assert settlement.health == ("" if by_hand else "ok" if outcome.accepted else "failed")
    assert settlement.counts_as_attempt
    assert settlement.log.attempt == number


def test_a_delivery_to_a_disabled_receiver_is_no_attempt() -> None:
    """A delivery to a disabled receiver is dead; it counts as no attempt and does not change the receiver's health."""
    settlement = undeliverable("the receiver is disabled", 1, NOW)
    assert (settlement.move, settlement.counts_as_attempt, settlement.health) == ("dead", False, "")
