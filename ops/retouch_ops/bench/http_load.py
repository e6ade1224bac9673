"""HTTP load over keep-alive connections on one event loop. It uses no HTTP library, so that it needs little CPU."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Load:
    """
    The figures of a load. `times` has the seconds of each request, `refused` is the number of answers other than 2xx.
    """

    per_s: float
    times: list[float]
    refused: int


def post_many(url: str, body: bytes, secret: str, *, requests: int, connections: int) -> Load:
    """
    POST the same JSON body `requests` times, and return the figures.

    The connections share the requests. Each connection sends its next request after the answer to the previous one.
    """
    return asyncio.run(_post_many(url, _message("POST", url, secret, body), requests, connections))


async def _post_many(url: str, message: bytes, requests: int, connections: int) -> Load:
    times: list[float] = []
    statuses: list[bytes] = []
    left = iter(range(requests))  # one for all connections

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
        for _ in left:
            began_at = time.perf_counter()
            writer.write(message)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
            times.append(time.perf_counter() - began_at)
            statuses.append(head.split(b" ", 2)[1])
        writer.close()

    began_at = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(connections)))
    took_s = time.perf_counter() - began_at
    return Load(len(times) / took_s, times, sum(not status.startswith(b"2") for status in statuses))


async def post_steadily(url: str, body: bytes, secret: str, rate_per_s: float) -> list[tuple[float, float]]:
    """
    POST a JSON body at a steady rate until a line comes on standard input. Return (due at, seconds) for each request.

    There is one connection, so a request waits until the previous one is answered. The seconds begin when the request
    is due, so they include this wait.
    """
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    stop = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    message, times, due_at = _message("POST", url, secret, body), list[tuple[float, float]](), time.time()
    while not stop.done():
        await asyncio.sleep(max(0.0, due_at - time.time()))
        writer.write(message)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(_length(head))
        if not head.split(b" ", 2)[1].startswith(b"2"):
            raise ValueError(f"expected 2xx, got {head[:80]!r}")
        times.append((due_at, time.time() - due_at))
        due_at += 1 / rate_per_s
    writer.close()
    return times


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))


def _message(method: str, url: str, secret: str, body: bytes = b"") -> bytes:
    parts = urlsplit(url)
    head = [f"{method} {parts.path} HTTP/1.1", f"Host: {parts.netloc}", f"Authorization: Bearer {secret}"]
    head += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([*head, "", ""]).encode() + body


async def watch(url: str, secret: str, begun: asyncio.Semaphore, until: bytes) -> bool:
    """
    Read server-sent events until one contains `until`, and return True. Return False if the stream ends first.

    When the first event comes, release `begun`.
    """
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(_message("GET", url, secret))
    received = await reader.readuntil(b"data: ")
    begun.release()
    while until not in received and (more := await reader.read(65_536)):
        received = received[-64:] + more  # `until` may be split over two reads
    writer.close()
    return until in received
