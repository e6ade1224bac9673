"""What is behind a queue: the stores that a test looks into."""

from __future__ import annotations

from retouch import EditQueue
from retouch.access.direct import RedisAccess
from retouch.connections import Connections


def behind(queue: EditQueue) -> Connections:
    """The stores, publisher and blobs of a queue over Redis."""
    assert isinstance(queue._access, RedisAccess)
    return queue._access.connections
