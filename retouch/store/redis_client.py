"""Connections to the store: how long to wait for Redis, and how stubbornly to try again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import redis
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.exceptions import MasterDownError
from redis.retry import Retry

from retouch.errors import StoreUnavailable
from retouch.settings import Settings
from retouch.store.redis_commands import AsyncClient, Client
from retouch.store.redis_retry import RedisRetry, backoff, refusal

PRODUCER_TRIES = 1
# A connection to a primary that was demoted stays open, and its address leads to the new one: connect again.
_TRY_AGAIN = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, MasterDownError)
_MOST_CONNECTIONS = 2_000  # redis-py's default of 100 stalls a lane of 500 threads silently
_READ_BYTES = 8_192  # kept by each connection, of which a worker has hundreds; redis-py's default is 64 kB
_LOOP_CONNECTIONS = 50  # one event loop fills no more, and a burst of 1,000 enqueues must not open 1,000


def connect(settings: Settings, *, tries: int = PRODUCER_TRIES, patience: RedisRetry | None = None) -> Client:
    """
    Make a client for the store; it connects when first used.

    `tries` is how often a command is repeated on a new connection. Every script of ours may be repeated: it knows what
    it has already done. Producers try once more and then raise; a worker's `patience` holds on to a paid answer.
    """
    retry = patience or Retry(backoff(), tries, _TRY_AGAIN)
    client = redis.Redis.from_url(settings.redis_url, max_connections=_MOST_CONNECTIONS, retry=retry, **_wire(settings))
    return cast(Client, client)


def connect_to_broker(settings: Settings) -> Client:
    """
    Make a client for the broker, to send messages with; it connects when first used.

    It tries once more, without a pause, for a connection that the broker has closed meanwhile or that leads to a former
    primary: what is waited for is one LPUSH, and rescue sends again what got lost.
    """
    retry = Retry(NoBackoff(), 1, (redis.ConnectionError, redis.ReadOnlyError))
    client = redis.Redis.from_url(settings.broker, max_connections=_MOST_CONNECTIONS, retry=retry, **_wire(settings))
    return cast(Client, client)


def connect_on_loop(settings: Settings) -> AsyncClient:
    """Make a client for asyncio; more commands than it has connections wait for one, as long as for an answer."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=_LOOP_CONNECTIONS,
        timeout=settings.redis_timeout_s,
        retry=redis.asyncio.retry.Retry(backoff(), PRODUCER_TRIES, _TRY_AGAIN),
        **_wire(settings),
    )
    return cast(AsyncClient, redis.asyncio.Redis.from_pool(pool))


def _wire(settings: Settings) -> dict[str, object]:
    waits = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), settings.redis_timeout_s)
    # Without introducing itself: for each connection redis-py would look its version up on disk, and send two commands.
    return {
        "decode_responses": True,
        "socket_keepalive": True,
        "socket_read_size": _READ_BYTES,
        "driver_info": None,
        **waits,
    }


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn a Redis that is lost, silent or takes no writes into `StoreUnavailable`, which says what it means."""
    try:
        yield
    except redis.RedisError as error:
        if why := refusal(error):
            told = f"Redis {why}; the last command was not carried out"
        elif isinstance(error, redis.ConnectionError | redis.TimeoutError):
            told = (
                f"Redis did not answer ({type(error).__name__}); whether the last command was carried out is not known"
            )
        else:
            raise
        raise StoreUnavailable(f"{told}. Repeating it is safe: enqueue again with the same idempotency key.") from error
