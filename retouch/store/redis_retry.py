"""How a worker waits while Redis does not answer or refuses writes, so that no paid answer is lost."""

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
"""First word of an error that ends by itself or after an operator's action → the state of Redis, for a message."""

# Redis before 7 puts a prefix before an error inside a script; redis-py puts one before an error inside a pipeline.
_REFUSAL = re.compile(
    rf"(?:ERR Error running script .*: -|Command # .* of pipeline caused error: )?({'|'.join(_REFUSALS)})\b"
)


def refusal(error: redis.RedisError) -> str:
    """Return why Redis refuses commands temporarily, such as "is out of memory"; return "" for any other error."""
    # Where redis-py has a class for an error, it moves the first word from the text to `status_code`.
    found = _REFUSAL.match(f"{error.status_code or ''} {error}".lstrip())
    return _REFUSALS[found[1]] if found else ""


def trouble(error: redis.RedisError) -> str:
    """
    Return a short description of an error of Redis for the log, without the command, since a command contains data.
    """
    if isinstance(error, redis.AuthenticationError):
        return "Redis does not let us in"
    silent = isinstance(error, redis.ConnectionError | redis.TimeoutError)
    return f"Redis {refusal(error) or ('does not answer' if silent else 'answers with an error')}"


def backoff() -> ExponentialWithJitterBackoff:
    """Return the rule for the waits between tries: from 0.05 s up to 2 s, with jitter."""
    return ExponentialWithJitterBackoff(base=_FIRST_WAIT_S, cap=_LONGEST_WAIT_S)


class RedisRetry(Retry):
    """
    Repeats a worker's command for up to `hold_s` seconds, each time on a new connection.

    Failure policy: the worker holds a paid answer, and waiting costs less than another POST. Therefore the worker waits
    while Redis does not answer or refuses commands temporarily. If another server has become the primary, a new
    connection reaches it. Any other error is raised at once.
    """

    def __init__(self, hold_s: float = HOLD_S) -> None:
        self._waits = backoff()
        super().__init__(self._waits, 0)
        self._hold_s, self._end_at = hold_s, math.inf

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """
        Return this object itself. redis-py copies the retry object for each connection, but `end_within` must end the
        retries of all connections.
        """
        return self

    def end_within(self, limit_s: float) -> None:
        """Stop repeating commands `limit_s` seconds from now, since the process must exit."""
        self._end_at = time.monotonic() + limit_s

    def call_with_retry(
        self,
        do: Callable[[], Value],
        fail: Callable[..., object],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Value:
        """
        Call `do` until it succeeds, and return its value; after each failure, `fail` closes the connection.

        Raise the last error when the time is over. If waiting does not help against an error, raise it at once.
        """
        began_at, failures = time.monotonic(), 0
        while True:
            try:
                return do()
            except redis.RedisError as error:
                if not _is_temporary(error) or (is_retryable and not is_retryable(error)):
                    raise
                failures += 1
                _ = fail(error, failures) if with_failure_count else fail(error)
                if time.monotonic() >= min(began_at + self._hold_s, self._end_at):
                    raise
            time.sleep(self._waits.compute(min(failures, _MOST_DOUBLINGS)))


def _is_temporary(error: redis.RedisError) -> bool:
    """Return whether the error may end by itself or after an operator's action."""
    return isinstance(error, redis.ConnectionError | redis.TimeoutError) or bool(refusal(error))
