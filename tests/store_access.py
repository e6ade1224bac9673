"""Access to the stores behind a queue, for tests that read them."""

from __future__ import annotations

from retouch import EditQueue
from retouch.connections import Connections
from retouch.transport.redis_transport import RedisTransport


def store_access(queue: EditQueue) -> Connections:
    """The stores, publisher and blobs of a queue over Redis."""
    assert isinstance(queue._transport, RedisTransport)
    return queue._transport.connections
