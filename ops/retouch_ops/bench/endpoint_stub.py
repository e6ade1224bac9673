"""
Endpoint, image host and webhook receiver in one process that uses as little CPU as possible.

Run it with `python -m retouch_ops.bench.endpoint_stub LATENCY_S SIDE ANSWER`. SIDE is the side of the picture in
pixels, and ANSWER is `success` or `failed`. The process prints its port, and answers `GET /hooks?N` once N webhooks
have arrived. It replaces the simulator, whose edits would take CPU from the workers.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import sys
import time
from dataclasses import dataclass, field

from PIL import Image

HOST = "127.0.0.1"


def picture(side: int) -> bytes:
    """
    Return a PNG of noise, the same at each call. Noise cannot be compressed, so the PNG has three bytes per pixel.
    """
    noise = random.Random(side).randbytes(side * side * 3)
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), noise).save(out, "PNG")
    return out.getvalue()


def answer(body: bytes, kind: bytes = b"application/json", status: bytes = b"200 OK") -> bytes:
    """Return the bytes of an HTTP answer with this body."""
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (status, kind, len(body))
    return head + body


@dataclass
class StubState:
    """
    The counts of requests so far, and the clients that wait for more webhooks.

    Each entry of `waiting` has the number of webhooks that a client waits for, and the connection of the client.
    `last_at` is the monotonic time of the latest webhook.
    """

    latency_s: float
    image: bytes
    edit: bytes = b""
    webhooks: int = 0
    posts: int = 0
    last_at: float = 0.0
    waiting: list[tuple[int, asyncio.Transport]] = field(default_factory=list)

    def count_webhook(self) -> None:
        """Count a webhook, and answer the first waiting client if enough webhooks have arrived."""
        self.webhooks += 1
        self.last_at = time.monotonic()
        if self.waiting and self.waiting[0][0] <= self.webhooks:
            self.send_counts(self.waiting.pop(0)[1])

    def send_counts(self, transport: asyncio.Transport) -> None:
        """Answer a client with the counts of webhooks and POSTs, as a JSON object."""
        reply = {"hooks": self.webhooks, "posts": self.posts, "last_at": self.last_at}
        transport.write(answer(json.dumps(reply).encode()))


class Connection(asyncio.Protocol):
    """One keep-alive connection, without pipelining."""

    def __init__(self, state: StubState) -> None:
        self._state, self._data = state, b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport, to which answers are written."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer a request once all of it has arrived."""
        self._data += data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._data[:end]
        at = head.lower().find(b"\r\ncontent-length:")
        length = int(head[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._data) >= end + 4 + length:
            self._data = b""
            self._serve(head.split(b" ", 2)[1])

    def _serve(self, target: bytes) -> None:
        state = self._state
        if target.startswith(b"/edit"):
            state.posts += 1
            asyncio.get_running_loop().call_later(state.latency_s, self._transport.write, state.edit)
        elif target.startswith(b"/image"):
            self._transport.write(answer(state.image, b"image/png"))
        elif target.startswith(b"/hooks?"):
            self._wait_for(int(target[7:]))
        else:
            self._transport.write(answer(b"", status=b"200 OK"))
            state.count_webhook()

    def _wait_for(self, webhooks: int) -> None:
        if self._state.webhooks >= webhooks:
            self._state.send_counts(self._transport)
        else:
            self._state.waiting.append((webhooks, self._transport))


async def serve(state: StubState, kind: str) -> None:
    """Print the port, then serve until the process is killed. `kind` is the `status` in the answers to edits."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(state), HOST, 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    reply = {"status": kind, "id": 1, "output": f"http://{HOST}:{port}/image.png" if kind == "success" else ""}
    state.edit = answer(json.dumps(reply).encode())
    print(port, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(StubState(float(sys.argv[1]), picture(int(sys.argv[2]))), sys.argv[3]))
