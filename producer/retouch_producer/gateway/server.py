"""Serves the gateway with uvicorn in this process."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from retouch.open_files import allow_open_files
from retouch.settings import Settings
from retouch_producer.gateway.app import make_gateway
from retouch_producer.gateway.busy_tenants.connection import movable_connection
from retouch_producer.gateway.busy_tenants.handover import SecondProcess
from retouch_producer.gateway.dependencies import Dependencies

DRAIN_S = 3
OPEN_FILES = 16_384
"""The open files that a process asks for: each connection is one, and so is each that it opens to other servers."""
_SWITCH_EVERY_S = 0.0005
_COLLECT_AFTER = (2_000, 10, 1_000)
_STARTUP_FAILED = 3


def serve(*, port: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then allow open requests 3 s to end. `port` overrides the setting."""
    settings = Settings.load()
    app = make_gateway(settings)
    dependencies: Dependencies = app.state.dependencies
    second_process = SecondProcess(dependencies.load, dependencies.requests)
    connection = movable_connection(second_process, dependencies.slows_others, dependencies.key_cache)
    server = GatewayServer(configured(app, settings, connection, port), second_process)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(_STARTUP_FAILED)


def configured(
    app: FastAPI, settings: Settings, connection: type[asyncio.Protocol], port: int | None = None
) -> uvicorn.Config:
    """Set this process up to serve, and return the configuration of its server."""
    # A request needs the interpreter many times. At Python's default of 5 ms it would wait each time for a thread that
    # computes.
    sys.setswitchinterval(_SWITCH_EVERY_S)
    # A full collection stops every thread, for 0.4 s once a tenant has many requests and lists in memory, and finds
    # next to nothing: reference counts free what a request leaves. So it comes rarely, and leaves out what stays.
    gc.set_threshold(*_COLLECT_AFTER)
    gc.freeze()
    allow_open_files(OPEN_FILES)
    # This library logs the headers of uploads, which may hold customers' data.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    return uvicorn.Config(
        app,
        host=settings.gateway_address,
        port=settings.gateway_port if port is None else port,
        log_level=settings.log_level.lower(),
        access_log=False,  # links are credentials and must not be logged
        server_header=False,
        http=connection,
        ws="none",
        timeout_graceful_shutdown=DRAIN_S,
    )


class GatewayServer(uvicorn.Server):
    """
    Uvicorn's server, which also starts and ends the second process.

    At a shutdown, the open requests of both processes get the same time to end.
    """

    def __init__(self, config: uvicorn.Config, second_process: SecondProcess) -> None:
        super().__init__(config)
        self._second_process = second_process

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to serve, and schedule the start of the second process."""
        await super().startup(sockets)
        if self.started:
            self._second_process.begin()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let the open requests of this process and of the second process end."""
        self._second_process.let_end()
        await super().shutdown(sockets)
        await self._second_process.close()
