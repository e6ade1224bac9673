"""Access to the stores behind a queue, for tests that read them."""

from __future__ import annotations

from typing import Any, cast

from retouch import EditQueue
from retouch.connections import Connections


class StoreAccess(Connections):
    """The stores, with a client whose every command may be used."""

    client: Any


def store_access(queue: EditQueue) -> StoreAccess:
    """The stores, publisher and blobs of a queue over Redis."""
    return cast(StoreAccess, queue._transport.connections)
