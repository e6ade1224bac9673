"""
The second process of a gateway, `python -m retouch_producer.gateway.second_process CHANNEL`; the gateway starts it.

It serves the same application on connections that the gateway passes to it. Its priority is low, so that it uses only
the CPU time that the gateway, Redis and the workers of this machine do not need.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from types import FrameType
from typing import Any, cast

import uvicorn

from retouch.open_files import allow_open_files
from retouch.settings import Settings
from retouch_producer.gateway.app import make_gateway
from retouch_producer.gateway.busy_tenants.handover import Report
from retouch_producer.gateway.dependencies import Dependencies
from retouch_producer.gateway.http.http1 import Http1Protocol
from retouch_producer.gateway.server import OPEN_FILES, configured

_REPORT_EVERY_S = 0.25
_BODY_WITHIN_S = 5.0
_SPARE_DESCRIPTORS = 100


class HandedOver(Http1Protocol):
    """A connection that the gateway passed to this process for one request; the answer closes the connection."""

    received = b""
    """What the gateway has received of the request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin the request with the bytes that the gateway has received, before the rest is read."""
        super().connection_made(transport)
        data, self.received = self.received, b""
        self.data_received(data)

    def on_headers_complete(self) -> None:
        """Begin the request; its answer closes the connection."""
        super().on_headers_complete()
        if self.cycle is not None:
            self.cycle.keep_alive = False
            self.cycle.transport = cast("asyncio.Transport", LastAnswer(self))

    def on_message_complete(self) -> None:
        """Note that the body has ended. If the request was answered before this, close the connection."""
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self.transport.close()


class LastAnswer:
    """Replaces the transport for one request. After the answer it closes the connection, once the body was received."""

    def __init__(self, connection: HandedOver) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        """Send bytes of the answer."""
        self._connection.transport.write(data)

    def close(self) -> None:
        """Close the connection: now, or when the client has sent its body, but within a few seconds."""
        transport = self._connection.transport
        if self._connection.cycle.more_body:
            # If bytes arrive on a closed connection, the client may lose the answer.
            self._connection.loop.call_later(_BODY_WITHIN_S, transport.close)
        else:
            transport.close()


class HandedOverServer(uvicorn.Server):
    """Serves the connections that the gateway passes over the channel, until the gateway closes the channel."""

    def __init__(self, config: uvicorn.Config, dependencies: Dependencies, channel: socket.socket) -> None:
        super().__init__(config)
        self._dependencies, self._channel, self._tasks = dependencies, channel, set[asyncio.Task[None]]()
        self._used: dict[str, float] = {}
        self._most = max(1, allow_open_files(OPEN_FILES) // 2 - _SPARE_DESCRIPTORS)
        dependencies.load.on_note = self._note_use

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """
        Do nothing. This process ends when the gateway closes the channel, even if it gets the gateway's signals too.
        """

    def _note_use(self, tenant: str, seconds: float) -> None:
        self._used[tenant] = self._used.get(tenant, 0.0) + seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and report on the channel that this process is ready."""
        await super().startup(sockets)
        self._start(self._report())
        asyncio.get_running_loop().add_reader(self._channel, self._take)

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self) -> None:
        """Take connections from the channel. If this process may open no more files, the rest waits in the channel."""
        loop = asyncio.get_running_loop()
        while True:
            if len(self.server_state.connections) + len(self._tasks) >= self._most:
                loop.remove_reader(self._channel)
                loop.call_later(_REPORT_EVERY_S, loop.add_reader, self._channel, self._take)
                return
            try:
                byte, descriptors, _, _ = socket.recv_fds(self._channel, 1, 2, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except ConnectionResetError:  # the gateway has ended, and left reports unread
                byte, descriptors = b"", []
            if not byte:
                loop.remove_reader(self._channel)
                self.should_exit = True
                return
            connection, received = descriptors
            self._start(self._serve_connection(connection, _content(received)))

    async def _serve_connection(self, connection: int, received: bytes) -> None:
        def protocol() -> HandedOver:
            made = HandedOver(self.config, self.server_state, self.lifespan.state)
            made.received = received
            return made

        loop = asyncio.get_running_loop()
        transport, made = await loop.connect_accepted_socket(protocol, socket.socket(fileno=connection))
        # What was received may have filled the buffer, before the loop began to read.
        if made.flow.read_paused:
            transport.pause_reading()

    async def _report(self) -> None:
        """Report four times a second what was done since the last report; the first report is empty."""
        reported, cpu_s = Counter[tuple[str, int]](), time.process_time()
        while True:
            answers, used = Counter(self._dependencies.requests), dict(self._used)
            self._used.clear()
            # Requests wait here for the CPU, at low priority. What a tenant used is its share of what the process got.
            cpu_before, cpu_s = cpu_s, time.process_time()
            share = min(1.0, (cpu_s - cpu_before) / (sum(used.values()) or 1.0))
            report = Report(
                used=[(tenant, seconds * share) for tenant, seconds in used.items()],
                answers=[(*key, n) for key, n in (answers - reported).items()],
            )
            reported = answers
            with suppress(OSError):  # the gateway has ended: so will this process
                self._channel.sendall(json.dumps(report).encode() + b"\n")
            await asyncio.sleep(_REPORT_EVERY_S)


def _content(descriptor: int) -> bytes:
    """Return what is in an open file, and close it."""
    with open(descriptor, "rb") as file:
        file.seek(0)
        return file.read()


def main() -> None:
    """Serve until the gateway ends."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    settings = Settings.load()
    app = make_gateway(settings)
    HandedOverServer(configured(app, settings, HandedOver), app.state.dependencies, channel).run(sockets=[])


if __name__ == "__main__":
    main()
