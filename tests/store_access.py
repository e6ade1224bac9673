"""Access to the stores that a queue uses, for tests that read them."""

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
