"""Runs the asyncio client in plain tests, so that the same tests check both clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any

from retouch import AsyncEditQueue, AsyncEditResult, AsyncJob


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Context manager that runs an event loop in a thread of its own, and yields the loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Driven:
    """
    A wrapper around an object of the asyncio client. Its methods block until their coroutine has ended.

    The coroutines run on an event loop in another thread.
    """

    def __init__(self, target: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._target, self._loop = target, loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return (lambda *args, **more: self._plain(value(*args, **more))) if callable(value) else self._plain(value)

    def _plain(self, value: Any) -> Any:
        if isawaitable(value):
            value = self._run(value)
        if isinstance(value, AsyncIterator):
            return self._walk(value)
        if isinstance(value, list):
            return [self._plain(one) for one in value]
        return Driven(value, self._loop) if isinstance(value, AsyncJob | AsyncEditResult) else value

    def _walk(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        end = object()
        while (item := self._run(anext(items, end))) is not end:
            yield self._plain(item)

    def _run(self, work: Awaitable[Any]) -> Any:
        async def wait() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result(60)


@contextmanager
def driven(*args: Any, **more: Any) -> Iterator[Driven]:
    """
    Context manager that opens an `AsyncEditQueue` on an event loop in a thread, and yields the queue as a `Driven`.
    """
    with running_loop() as loop:
        queue = Driven(AsyncEditQueue(*args, **more), loop)
        queue.__getattr__("__aenter__")()
        yield queue
        queue.close()
