"""
Answers that HTTP frameworks cannot send: connection resets, silence, and bytes that arrive slowly.

These answers need the connection itself. `SocketProtocol` puts the connection into the scope of the request.
`retouch_ops.simulator.server` serves with that protocol.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER = (b"x-retouch-simulator", b"development tool; no real edit, no charge")
_CONNECTION = "retouch.connection"
_TICK_S = 0.05


class SocketProtocol(HttpToolsProtocol):
    """The HTTP protocol of uvicorn, which also passes the connection to the application."""

    def on_message_begin(self) -> None:
        """Begin a request, and put its connection into the scope."""
        super().on_message_begin()
        self.scope["extensions"] = {_CONNECTION: {"transport": self.transport}}


class Reset(Response):
    """An answer that resets the connection."""

    async def __call__(self, scope: Scope, receive: Receive, _: Send) -> None:
        """Close with SO_LINGER 0, so that the client sees a reset and not an orderly close."""
        transport = _transport(scope)
        linger = struct.pack("ii", 1, 0)
        if not transport.is_closing():  # a client that left has no socket any more
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        await _wait_for_disconnect(receive)


class Silence(Response):
    """An answer that never comes: the connection stays open until the client closes it."""

    async def __call__(self, _: Scope, receive: Receive, __: Send) -> None:
        """Wait until the client closes the connection."""
        await _wait_for_disconnect(receive)


class Drip(Response):
    """An answer whose bytes are sent slowly, headers included; then the connection is closed."""

    def __init__(self, answer: Response, bytes_per_s: float) -> None:
        super().__init__()
        self._answer, self._bytes_per_s = answer, bytes_per_s

    async def __call__(self, scope: Scope, receive: Receive, _: Send) -> None:
        """Write the bytes of the answer to the connection, a few at a time."""
        transport = _transport(scope)
        async for piece in _slowly(_raw_bytes(self._answer), self._bytes_per_s):
            if transport.is_closing():
                break
            transport.write(piece)
        transport.close()
        await _wait_for_disconnect(receive)


def slow_download(content: bytes, bytes_per_s: float, media_type: str) -> Response:
    """Return an answer whose body is sent at `bytes_per_s`."""
    headers = {"content-length": str(len(content))}
    return StreamingResponse(_slowly(content, bytes_per_s), media_type=media_type, headers=headers)


def _transport(scope: Scope) -> asyncio.Transport:
    extension = scope.get("extensions", {}).get(_CONNECTION)
    if extension is None:
        raise RuntimeError(
            "this fault needs a real connection: run the simulator with retouch_ops.simulator.server.serve"
        )
    transport: asyncio.Transport = extension["transport"]
    return transport


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _slowly(content: bytes, bytes_per_s: float) -> AsyncIterator[bytes]:
    size = max(1, round(bytes_per_s * _TICK_S))
    for start in range(0, len(content), size):
        piece = content[start : start + size]
        yield piece
        await asyncio.sleep(len(piece) / bytes_per_s)


def _raw_bytes(answer: Response) -> bytes:
    headers = [*answer.raw_headers, HEADER, (b"connection", b"close")]
    lines = [b"HTTP/1.1 %d Dripped" % answer.status_code, *(b"%s: %s" % header for header in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(answer.body)
