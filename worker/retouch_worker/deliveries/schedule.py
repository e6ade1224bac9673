"""When a delivery is tried again: the schedule, and how an answer changes it. All functions are pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from retouch.policy import JITTER, jittered
from retouch.store.deliveries import DeliveryAttempt, Settlement

SCHEDULE_S = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""The waits in seconds after failed attempts 1, 2, … and 9. The ten attempts take more than 75 hours."""

OVERLOADED_LEAST_S = 60.0
RETRY_AFTER_MOST_S = 3_600.0
STRETCHED_MOST_S = 96 * 3_600.0
"""
The longest time that a schedule may take when Retry-After stretches it. A job is on record for at least 100 hours.
"""

_OVERLOADED = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class DeliveryOutcome:
    """
    The outcome of one delivery attempt. If there was no answer, `status` is None, and `trouble` says why.

    `retry_after` is the text of the header. `excerpt` is the start of the answer's body, for the log.
    """

    status: int | None
    trouble: str = ""
    retry_after: str = ""
    excerpt: str = ""
    elapsed_s: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether the status is 2xx. A redirect is a failure, and is not followed."""
        return self.status is not None and 200 <= self.status < 300


def retry_after_s(text: str, now: float) -> float | None:
    """
    Return the wait in seconds that a Retry-After header names, as a number or as a date.

    Return None for any other text. `now` is in Unix seconds.
    """
    digits = text.strip()  # `strip` removes more than `float` does, such as \x1f
    if digits.isdecimal():
        return float(digits)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


def next_delay_s(outcome: DeliveryOutcome, number: int, now: float, random: float, age_s: float = 0.0) -> float | None:
    """
    Return the wait in seconds after failed attempt `number` (from 1), or None if that was the last attempt.

    `now` is in Unix seconds, `random` in [0, 1). `age_s` is the time since the schedule began.
    """
    if number > len(SCHEDULE_S):
        return None
    delay_s = jittered(SCHEDULE_S[number - 1], random)
    if outcome.status in _OVERLOADED or outcome.trouble == "timeout":
        delay_s = max(delay_s, OVERLOADED_LEAST_S)
    requested_s = retry_after_s(outcome.retry_after, now) if outcome.retry_after else None
    if requested_s is not None:
        # The rest of the schedule must still fit in while the job is on record.
        longest_s = STRETCHED_MOST_S - age_s - (1 + JITTER) * sum(SCHEDULE_S[number:])
        delay_s = max(delay_s, min(requested_s, max(2 * delay_s, RETRY_AFTER_MOST_S), longest_s))
    return delay_s


def settlement_of(
    outcome: DeliveryOutcome, number: int, by_hand: bool, now: float, random: float, age_s: float = 0.0
) -> Settlement:
    """
    Return the settlement of a delivery attempt. The function is pure: `now` is in Unix seconds, `random` in [0, 1).

    `number` counts attempts from 1; `age_s` is the time since the schedule began. An attempt `by_hand` does not count
    for the receiver's health.

    Failure policy: a delivery is tried again until the answer is 2xx, so a receiver may get an event twice. After the
    last attempt, or after the answer 410, the delivery is kept as a dead letter. The answer 410 means that the receiver
    wants no more events, so the receiver is disabled.
    """
    log = DeliveryAttempt(
        at=round(now, 3),
        attempt=number,
        status=outcome.status,
        trouble=outcome.trouble,
        latency_s=round(outcome.elapsed_s, 3),
        excerpt=outcome.excerpt,
        by_hand=by_hand,
    )
    health = "" if by_hand else "ok" if outcome.accepted else "failed"
    if outcome.accepted:
        return Settlement("delivered", 0.0, log, health=health)
    if outcome.status == 410:
        return Settlement("dead", 0.0, log, health=health, disable=True)
    delay_s = next_delay_s(outcome, number, now, random, age_s)
    if delay_s is None:
        return Settlement("dead", 0.0, log, health=health)
    return Settlement("retrying", delay_s, replace(log, next_in_s=round(delay_s, 1)), health=health)


def undeliverable(reason: str, number: int, now: float) -> Settlement:
    """Return the settlement of a delivery that becomes a dead letter without an attempt. Its log contains `reason`."""
    return Settlement(
        "dead",
        0.0,
        DeliveryAttempt(at=round(now, 3), attempt=number, status=None, trouble=reason),
        counts_as_attempt=False,
    )
