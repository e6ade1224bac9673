"""A TCP proxy between two peers on loopback that can stall, cut and restore connections."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

_CHUNK = 65_536


class Proxy:
    """
    Context manager that listens on a port of its own and forwards to the port `target`, both on 127.0.0.1.

    After `stall`, connections stay open and no data passes, as with packet loss. After `cut`, all connections are reset
    and new connections are refused. `heal` ends both states. The proxy then sends the data that it held back.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._flows = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._transports: list[asyncio.WriteTransport] = []
        self._server: asyncio.Server | None = None
        self.port = 0
        self.accepted = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.heal()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.cut()
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def heal(self) -> None:
        """Accept connections and forward data again."""
        self._run(self._open())

    def stall(self) -> None:
        """Keep connections open, but let nothing pass."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def lead_to(self, target: int) -> None:
        """Forward new connections to another port, as an address does after a failover."""
        self._target = target

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._run(self._close())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _open(self) -> None:
        self._flows.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=500)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    async def _end(self) -> None:
        self._flows.set()
        # A task that is cancelled while it connects leaves a transport open, so each task ends by itself: connecting
        # takes no time on loopback, and a task that reads or writes ends when its transport is aborted.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.wait(others, timeout=0.01)
        # A transport that is closed with data left to send keeps its socket until its peer reads.
        while left := [one for one in self._transports if one.get_extra_info("socket").fileno() != -1]:
            for transport in left:
                transport.abort()
            await asyncio.sleep(0.01)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._transports.append(writer.transport)
        self._writers.add(writer)  # here, for a task that is cancelled before it began closes nothing
        task = self._loop.create_task(self._serve(reader, writer))
        task.add_done_callback(lambda _: self._writers.discard(writer) if writer.is_closing() else None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._transports.append(far_writer.transport)
            with contextlib.closing(far_writer):  # pumps that are cancelled before they began close nothing
                await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while data := await reader.read(_CHUNK):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            writer.transport.abort()
        finally:
            writer.close()
            # Only now is it closed: as long as its peer reads nothing, what was written keeps it open.
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            self._writers.discard(writer)
