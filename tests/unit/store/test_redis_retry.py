"""The retries of a worker's connections to Redis: after which errors, and for how long."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import redis
from redis.exceptions import BusyLoadingError, NoScriptError, OutOfMemoryError

from retouch.store import redis_retry
from retouch.store.redis_retry import HOLD_S, RedisRetry, refusal, trouble

WRAPPED = "Error running script (call to f_ab): @user_script:7: @user_script: 7: -READONLY You can't write against it."


@dataclass
class Clock:
    """A replacement of the module `time`; its time moves only in `sleep`."""

    now: float = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, wait_s: float) -> None:
        self.now += wait_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(redis_retry, "time", made)
    return made


def failing(error: Exception, times: int, meanwhile: Callable[[int], object] = lambda _: None) -> Callable[[], str]:
    """
    Return a function that raises `error` in its first `times` calls and later returns "done". Each call passes its
    number to `meanwhile`.
    """
    asked = [0]

    def do() -> str:
        asked[0] += 1
        meanwhile(asked[0])
        if asked[0] > times:
            return "done"
        raise error

    return do


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OutOfMemoryError("command not allowed", status_code="OOM"), "is out of memory"),
        (redis.ResponseError("NOREPLICAS Not enough good replicas to write."), "has too few replicas to take writes"),
        (redis.ResponseError("MISCONF Errors writing to the AOF file"), "cannot write to its disk"),
        (redis.ResponseError("Command # 1 (SET a b) of pipeline caused error: MISCONF x"), "cannot write to its disk"),
        (redis.ResponseError(WRAPPED, status_code="ERR"), "is a read-only replica"),
        (BusyLoadingError("Redis is loading the dataset in memory", status_code="LOADING"), "is loading its data"),
        (redis.ResponseError("UNBLOCKED force unblock from blocking operation"), "has become a replica"),
        (redis.ResponseError("BUSYGROUP Consumer Group name already exists"), ""),
        (redis.ResponseError("user_script:3: Script attempted OOM", status_code="ERR"), ""),
        (NoScriptError("No matching script.", status_code="NOSCRIPT"), ""),
        (redis.ConnectionError("Connection refused"), ""),
    ],
)
def test_a_refusal_is_known_by_its_first_word(error: redis.RedisError, reason: str) -> None:
    """If Redis refused a write, `refusal` returns the reason. For any other error it returns an empty string."""
    assert refusal(error) == reason


def test_a_log_says_what_is_wrong_and_not_what_was_asked() -> None:
    """`trouble` describes the kind of an error, without the text of the error."""
    assert trouble(redis.ConnectionError("to redis://:secret@host")) == "Redis does not answer"
    assert trouble(redis.AuthenticationError("for user secret")) == "Redis does not let us in"
    assert trouble(redis.ResponseError("NOPERM no permission for key rt:secret")) == "Redis answers with an error"


@pytest.mark.parametrize("error", [redis.ConnectionError("refused"), redis.ResponseError("NOREPLICAS Not enough")])
def test_an_answer_is_held_for_an_hour(clock: Clock, error: Exception) -> None:
    """
    While Redis refuses writes or does not answer, a command is tried every two seconds. After an hour the error is
    raised.
    """
    closed: list[Exception] = []
    with pytest.raises(type(error)):
        RedisRetry().call_with_retry(failing(error, 10**9), closed.append)
    assert HOLD_S <= clock.now - 1_000.0 <= HOLD_S + 2.0
    assert 1_800 <= len(closed) < 1_900


def test_an_outage_of_fifty_minutes_is_survived(clock: Clock) -> None:
    """A command that fails 1,500 times in fifty minutes succeeds in the next try."""
    assert RedisRetry().call_with_retry(failing(redis.TimeoutError("silent"), 1_500), lambda _: None) == "done"
    assert clock.now > 1_000.0 + 2_900.0


@pytest.mark.parametrize("error", [NoScriptError("No matching script."), redis.ResponseError("ERR user_script:3: nil")])
def test_errors_of_ours_are_never_repeated(clock: Clock, error: Exception) -> None:
    """An unknown script or an error in a script is raised at once, and the connection stays open."""
    closed: list[Exception] = []
    with pytest.raises(type(error)):
        RedisRetry().call_with_retry(failing(error, 1), closed.append)
    assert closed == []
    assert clock.now == 1_000.0


def test_a_process_that_leaves_gives_up_on_all_connections(clock: Clock) -> None:
    """`end_within` also ends a call that already waits, and also applies to the copies that redis-py makes."""
    ours = RedisRetry()

    def drain(asked: int) -> None:
        if asked == 5:
            ours.end_within(30.0)

    theirs = copy.deepcopy(ours)
    with pytest.raises(redis.ConnectionError):
        theirs.call_with_retry(failing(redis.ConnectionError("refused"), 10**9, drain), lambda _: None)
    assert clock.now - 1_000.0 <= 30.0 + 2.0 * 6
