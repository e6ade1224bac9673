"""Access to the stores behind a queue, for tests that read them."""

from __future__ import annotations

from typing import Any, cast

from retouch import EditQueue
from retouch.connections import Connections


class StoreAccess(Connections):
    """The stores behind a queue, with a client that may send any command."""

    client: Any


def store_access(queue: EditQueue) -> StoreAccess:
    """Return the stores, the publisher and the blobs of a queue over Redis."""
    return cast(StoreAccess, queue._transport.connections)
