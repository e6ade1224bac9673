"""
A guard around one method of kombu's Redis channel, so that a worker survives an outage of its broker.

Without it, a worker with tasks in flight exits when Redis goes away: closing the channel reads a pending BRPOP, that
raises, and a second close meets a half-closed channel (kombu 5.7.0, `Channel.close`). An exit kills paid calls in
flight. kombu is pinned to the exact version, and `tests/chaos` restarts Redis under a worker that has work.
"""

from __future__ import annotations

from contextlib import suppress
from queue import Empty

from kombu.transport.redis import Channel
from redis.exceptions import RedisError


def install() -> None:
    """Wrap `Channel.close` so that a lost connection cannot stop it half-way. Installing twice does nothing more."""
    original = Channel.close
    if getattr(original, "guarded", False):
        return

    def close(self: Channel) -> None:
        if self._in_poll:
            read = self._brpop_read  # outside of `suppress`, so that a kombu without it is noticed
            with suppress(Empty, RedisError, OSError, AttributeError):  # what it would have brought is sent again
                read()
            self._in_poll = None
        original(self)

    close.guarded = True  # type: ignore[attr-defined]  # mypy knows no attributes of functions
    Channel.close = close
