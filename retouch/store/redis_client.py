"""Makes clients for Redis, and decides how long they wait for an answer and how often they try again."""

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
# A connection to a primary that was demoted stays open. A new connection to its address reaches the new primary.
_TRY_AGAIN = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, MasterDownError)
_MOST_CONNECTIONS = 2_000  # redis-py's default of 100 stalls a lane of 500 threads silently
_READ_BYTES = 8_192  # kept by each connection, of which a worker has hundreds; redis-py's default is 64 kB
_LOOP_CONNECTIONS = 50  # one event loop fills no more, and a burst of 1,000 enqueues must not open 1,000


def connect(settings: Settings, *, tries: int = PRODUCER_TRIES, patience: RedisRetry | None = None) -> Client:
    """
    Return a client for the store; it connects when first used.

    `tries` is how often a failed command is repeated on a new connection. Repeating is safe, since our scripts notice
    work that is done already. A producer repeats once and then raises. A worker passes `patience`, which repeats for an
    hour so that no paid answer is lost.
    """
    retry = patience or Retry(backoff(), tries, _TRY_AGAIN)
    client = redis.Redis.from_url(settings.redis_url, max_connections=_MOST_CONNECTIONS, retry=retry, **_wire(settings))
    return cast(Client, client)


def connect_to_broker(settings: Settings) -> Client:
    """
    Return a client for the broker, which sends messages; it connects when first used.

    A failed command is repeated once, without a pause: a message that is lost is sent again by rescue.
    """
    # The kept connection may have been closed by the broker, or lead to a primary that was demoted.
    retry = Retry(NoBackoff(), 1, (redis.ConnectionError, redis.ReadOnlyError))
    client = redis.Redis.from_url(settings.broker, max_connections=_MOST_CONNECTIONS, retry=retry, **_wire(settings))
    return cast(Client, client)


def connect_on_loop(settings: Settings) -> AsyncClient:
    """
    Return a client for asyncio; it connects when first used. A command waits up to `redis_timeout_s` for a free
    connection.
    """
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        settings.redis_url,
        max_connections=_LOOP_CONNECTIONS,
        timeout=settings.redis_timeout_s,
        retry=redis.asyncio.retry.Retry(backoff(), PRODUCER_TRIES, _TRY_AGAIN),
        **_wire(settings),
    )
    return cast(AsyncClient, redis.asyncio.Redis.from_pool(pool))


def _wire(settings: Settings) -> dict[str, object]:
    """Return the options that all clients share."""
    waits = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), settings.redis_timeout_s)
    # No `driver_info`: for each connection redis-py would read its own version from disk and send two more commands.
    return {
        "decode_responses": True,
        "socket_keepalive": True,
        "socket_read_size": _READ_BYTES,
        "driver_info": None,
        **waits,
    }


@contextmanager
def clear_errors() -> Iterator[None]:
    """
    Return a context manager that raises `StoreUnavailable` if Redis does not answer, or refuses commands temporarily.

    Other errors pass through unchanged.
    """
    try:
        yield
    except redis.RedisError as error:
        if why := refusal(error):
            problem = f"Redis {why}; the last command was not carried out"
        elif isinstance(error, redis.ConnectionError | redis.TimeoutError):
            problem = (
                f"Redis did not answer ({type(error).__name__}); whether the last command was carried out is not known"
            )
        else:
            raise
        raise StoreUnavailable(
            f"{problem}. Repeating it is safe: enqueue again with the same idempotency key."
        ) from error
