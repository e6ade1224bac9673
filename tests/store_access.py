"""Access for tests: to the stores that a queue uses, and to everything that a Redis contains."""

from __future__ import annotations

from typing import Any, cast

from retouch import EditQueue
from retouch.connections import Connections


class StoreAccess(Connections):
    """The stores that a queue uses; the type of `client` allows any Redis command."""

    client: Any


def store_access(queue: EditQueue) -> StoreAccess:
    """Return the stores, the publisher and the blobs that a queue with Redis uses."""
    return cast(StoreAccess, queue._transport.connections)


def stored_contents(client: Any) -> dict[str, Any]:
    """Return the whole content of each key of a Redis, by the name of the key."""
    readers = {
        "string": client.get,
        "hash": client.hgetall,
        "set": client.smembers,
        "list": lambda name: client.lrange(name, 0, -1),
        "zset": lambda name: client.zrange(name, 0, -1, withscores=True),
        "stream": client.xrange,
    }
    return {name: readers[client.type(name)](name) for name in client.scan_iter("*", count=1_000)}
