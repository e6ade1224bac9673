"""
A guard around `Channel.close` of kombu, so that a worker survives an outage of its broker.

Without the guard, a worker with tasks in flight exits when Redis goes away, which ends paid calls. In kombu 5.7.0,
`Channel.close` reads a pending BRPOP and raises, and the next `close` finds a half-closed channel. Therefore kombu is
pinned to exactly this version, and `tests/chaos` restarts Redis under a worker that has work.
"""

from __future__ import annotations

from contextlib import suppress
from queue import Empty

from kombu.transport.redis import Channel
from redis.exceptions import RedisError


def install() -> None:
    """
    Replace kombu's `Channel.close` by a function that a lost connection cannot interrupt. A second call has no effect.
    """
    original = Channel.close
    if getattr(original, "guarded", False):
        return

    def close(self: Channel) -> None:
        if self._in_poll:
            read = self._brpop_read  # outside `suppress`: a kombu that has no such method must raise
            # A message that this read loses is sent again by rescue.
            with suppress(Empty, RedisError, OSError, AttributeError):
                read()
            self._in_poll = None
        original(self)

    close.guarded = True  # type: ignore[attr-defined]  # a function declares no attributes
    Channel.close = close
