"""
A server with good and harmful receivers of webhooks, and with pictures: `python -m tests.hostile.receivers`.

The first segment of a path chooses the answer. `good` answers 204 and stores the event. `hang` never answers. `fail`
answers 500. `drip` sends one byte of the answer's header every 0.2 s. `slow` answers after 3 s. `large` answers without
end. `photo` is a photograph, and `big` is a PNG of 49 MB. `log` lists each job with a final event, and when the event
came.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from tests.hostile.http_client import NO_ANSWER, read_head
from tests.hostile.pictures import big_png

PHOTO = Path(__file__).parents[2] / "ops/retouch_ops/samples/portrait.jpg"
HANG_S, SLOW_S = 120.0, 3.0


class Receivers:
    """The server; `ended` has the monotonic instant at which each job's final event first arrived."""

    def __init__(self) -> None:
        self.ended: dict[str, float] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        with suppress(*NO_ANSWER):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode().split("/")[1].partition("?")[0]
                length = int(_length(head))
                body = await reader.readexactly(length)
                await self._answer(path, body, writer)
                await writer.drain()
        writer.close()

    async def _answer(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if path == "good":
            self._keep(body)
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif path == "fail":
            writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
        elif path == "slow":
            await asyncio.sleep(SLOW_S)
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif path in ("drip", "large"):
            await self._drip(writer, b"x" * 65_536 if path == "large" else b"x")
        elif path in ("photo", "big"):
            data = PHOTO.read_bytes() if path == "photo" else _big()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n" % len(data))
            writer.write(data)
        elif path == "log":
            data = json.dumps(self.ended).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        else:
            await asyncio.sleep(HANG_S)

    def _keep(self, body: bytes) -> None:
        event = json.loads(body)
        if event["data"].get("state") in ("succeeded", "failed", "cancelled"):
            self.ended.setdefault(event["data"]["job_id"], time.monotonic())

    async def _drip(self, writer: asyncio.StreamWriter, piece: bytes) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        for _ in range(int(HANG_S / 0.2)):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.2)


@cache
def _big() -> bytes:
    return big_png(random.Random(1))


def _length(head: bytes) -> str:
    return read_head(b"HTTP/1.1 0 x" + head[head.index(b"\r\n") :])[1].get("content-length", "0")


async def main() -> None:
    """Serve on a free port, which is printed, until SIGTERM."""
    server = await asyncio.start_server(Receivers().serve, "127.0.0.1", 0, backlog=2_000)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    await over.wait()


if __name__ == "__main__":
    asyncio.run(main())
