"""Runs the simulator in this process, on one event loop. Prints a line when the simulator listens."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys

import uvicorn

from retouch.open_files import allow_open_files
from retouch_ops.simulator.app import make_simulator
from retouch_ops.simulator.config import SimulatorConfig
from retouch_ops.simulator.fault_transport import SocketProtocol

READY = "simulator ready on "
# Clients keep connections between jobs. One that the server closes would be a fault that no test has asked for.
_KEEP_ALIVE_S = 600


class _Server(uvicorn.Server):
    """A uvicorn server that prints its address. If `with_parent` is set, it stops when standard input ends."""

    def __init__(self, config: uvicorn.Config, url: str, with_parent: bool) -> None:
        super().__init__(config)
        self._url, self._with_parent = url, with_parent

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then print the line that begins with `READY`."""
        await super().startup(sockets)
        if self._with_parent:
            asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._on_parent_input)
        print(READY + self._url, flush=True)

    def _on_parent_input(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self.should_exit = self.force_exit = True


def serve(address: str, port: int, config: SimulatorConfig, *, with_parent: bool = False) -> None:
    """
    Serve until SIGINT or SIGTERM. With `with_parent`, also stop when standard input ends. Port 0 stands for a free
    port.

    Raises `OSError` if it cannot listen on the address.
    """
    allow_open_files(8192)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=2048)
    host = f"[{address}]" if ":" in address else address
    settings = uvicorn.Config(
        make_simulator(config),
        http=SocketProtocol,
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )
    url = f"http://{host}:{listener.getsockname()[1]}"
    with contextlib.suppress(KeyboardInterrupt):
        _Server(settings, url, with_parent).run([listener])
