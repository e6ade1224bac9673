"""An HTTP/1.1 client on asyncio that costs little CPU, so that its own load does not change the measured times."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

NO_ANSWER = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError)
_JSON = "application/json"
_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Answer:
    """One answer: its status, its body, and the seconds from the start of the request to the last byte."""

    status: int
    body: bytes
    elapsed_s: float

    def json(self) -> Any:
        """Return the value of the body, which is JSON."""
        return json.loads(self.body)


class HttpClient:
    """
    A client with one API key and keep-alive connections. `statuses` counts the answers by status.

    A request without an answer counts as `none`.
    """

    def __init__(self, url: str, secret: str, timeout_s: float = 60.0) -> None:
        parts = urlsplit(url)
        self.host, self.port, self.secret = parts.hostname, parts.port, secret
        self._timeout_s = timeout_s
        self._idle: list[_Connection] = []
        self.statuses: Counter[str] = Counter()

    def head(self, method: str, path: str, length: int = 0, kind: str = _JSON, **headers: str) -> bytes:
        """Return the head of a request as bytes."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", f"Authorization: Bearer {self.secret}"]
        lines += [f"Content-Type: {kind}", f"Content-Length: {length}"] if length else []
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    async def connect(self) -> _Connection:
        """Open a connection."""
        return await asyncio.open_connection(self.host, self.port, limit=1 << 20)

    async def request(
        self, method: str, path: str, body: bytes = b"", kind: str = _JSON, **headers: str
    ) -> Answer | None:
        """Send a request and return its answer, or None if no answer came in time."""
        began_at = time.perf_counter()
        message = self.head(method, path, len(body), kind, **headers) + body
        try:
            async with asyncio.timeout(self._timeout_s):
                status, content = await self._exchange(message)
        except NO_ANSWER:
            self.statuses["none"] += 1
            return None
        self.statuses[str(status)] += 1
        return Answer(status, content, time.perf_counter() - began_at)

    async def get(self, path: str, **headers: str) -> Answer | None:
        """GET a path."""
        return await self.request("GET", path, b"", "", **headers)

    async def post(self, path: str, value: Any = None, **headers: str) -> Answer | None:
        """POST a value as JSON, or nothing."""
        return await self.request("POST", path, b"" if value is None else json.dumps(value).encode(), _JSON, **headers)

    async def _exchange(self, message: bytes) -> tuple[int, bytes]:
        while self._idle:
            reader, writer = self._idle.pop()
            if reader.at_eof() or writer.is_closing():
                writer.close()
                continue
            try:
                return await self._ask(reader, writer, message)
            except (ConnectionError, asyncio.IncompleteReadError):
                continue  # the server closed an idle connection while the request was on its way
        return await self._ask(*await self.connect(), message)

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes
    ) -> tuple[int, bytes]:
        try:
            writer.write(message)
            await writer.drain()
            status, headers = read_head(await reader.readuntil(b"\r\n\r\n"))
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        except BaseException:
            writer.close()
            raise
        if headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return status, body

    def close(self) -> None:
        """Close the idle connections."""
        for _, writer in self._idle:
            writer.close()


def read_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Return the status and the headers in the head of an answer. Names of headers are in lower case."""
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, _, value in pairs}
