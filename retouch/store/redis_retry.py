"""What Redis says when it refuses for a while, and how long a worker holds on to an answer until it is taken."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import Self, TypeVar

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

Value = TypeVar("Value")

HOLD_S = 3_600.0
_FIRST_WAIT_S, _LONGEST_WAIT_S, _MOST_DOUBLINGS = 0.05, 2.0, 16

_REFUSALS = {
    "OOM": "is out of memory",
    "READONLY": "is a read-only replica",
    "NOREPLICAS": "has too few replicas to take writes",
    "MISCONF": "cannot write to its disk",
    "LOADING": "is loading its data",
    "MASTERDOWN": "is a replica without its primary",
    "UNBLOCKED": "has become a replica",
    "BUSY": "is held up by a script",
}
"""The first word of a refusal that ends by itself or by an operator's hand → what it says of Redis."""

# Redis before 7 wraps what a script meets, and redis-py what a pipeline meets.
_REFUSAL = re.compile(
    rf"(?:ERR Error running script .*: -|Command # .* of pipeline caused error: )?({'|'.join(_REFUSALS)})\b"
)


def refusal(error: redis.RedisError) -> str:
    """Say of Redis why it refuses for now, as "is out of memory"; nothing for any other error."""
    # redis-py takes the first word off where it has a class for it.
    found = _REFUSAL.match(f"{error.status_code or ''} {error}".lstrip())
    return _REFUSALS[found[1]] if found else ""


def trouble(error: redis.RedisError) -> str:
    """Say in a few words what is wrong with Redis, for a log; never what was asked of it."""
    if isinstance(error, redis.AuthenticationError):
        return "Redis does not let us in"
    silent = isinstance(error, redis.ConnectionError | redis.TimeoutError)
    return f"Redis {refusal(error) or ('does not answer' if silent else 'answers with an error')}"


def backoff() -> ExponentialWithJitterBackoff:
    """The waits between tries: from 0.05 s to 2 s."""
    return ExponentialWithJitterBackoff(base=_FIRST_WAIT_S, cap=_LONGEST_WAIT_S)


class RedisRetry(Retry):
    """
    How a worker's connections try again: for `hold_s` from the first failure, each time on a new connection.

    Failure policy: a paid answer is in the worker's hands, and a process that waits costs less than another POST. So
    whatever passes is waited out: a Redis that is away, full, or no longer the primary, whose address leads to the
    new one. Any other error is raised at once, a script that Redis does not know above all.
    """

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._waits = backoff()
        super().__init__(self._waits, 0)
        self._hold_s, self._end_at = hold_s, math.inf

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Stay one for all connections, where redis-py would copy: `end_within` is for every one of them."""
        return self

    def end_within(self, limit_s: float) -> None:
        """Give up whatever is held so many seconds from now, since the process must leave."""
        self._end_at = time.monotonic() + limit_s

    def call_with_retry(
        self,
        do: Callable[[], Value],
        fail: Callable[..., object],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Value:
        """Run `do` until it succeeds; `fail` closes the connection after each failure."""
        began_at, failures = time.monotonic(), 0
        while True:
            try:
                return do()
            except redis.RedisError as error:
                if not _passes(error) or (is_retryable and not is_retryable(error)):
                    raise
                failures += 1
                _ = fail(error, failures) if with_failure_count else fail(error)
                if time.monotonic() >= min(began_at + self._hold_s, self._end_at):
                    raise
            time.sleep(self._waits.compute(min(failures, _MOST_DOUBLINGS)))


def _passes(error: redis.RedisError) -> bool:
    return isinstance(error, redis.ConnectionError | redis.TimeoutError) or bool(refusal(error))
