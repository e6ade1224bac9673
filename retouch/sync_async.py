"""
Code that is written once and used from threads and from an event loop.

It is written as coroutines, and all that may wait is asked of a client: redis-py's for threads answers at once, its
asyncio one with something to await (`reply` takes either). With a client for threads such a coroutine never suspends,
so that one step runs it to its end (`run_sync`), at the price of a few microseconds.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Concatenate, Generic, ParamSpec, TypeAlias, TypeVar

P = ParamSpec("P")
Owner = TypeVar("Owner")
Value = TypeVar("Value")

Work: TypeAlias = Coroutine[object, None, Value]

Replied: TypeAlias = Value | Awaitable[Value]
"""A reply, from a client for threads, or something to await for it, from one for asyncio."""


def run_sync(work: Work[Value]) -> Value:
    """Run a coroutine that waits for nothing, or only by blocking this thread, and give what it returns."""
    try:
        work.send(None)
    except StopIteration as end:
        value: Value = end.value
        return value
    work.close()
    raise AssertionError("it waits for an event loop, so it must be awaited there")


def iterate_sync(items: AsyncGenerator[Value, None]) -> Iterator[Value]:
    """Walk an asynchronous generator that waits only by blocking this thread."""
    try:
        while True:
            try:
                item = run_sync(_next(items))
            except StopAsyncIteration:
                return
            yield item
    finally:
        run_sync(items.aclose())


async def _next(items: AsyncIterator[Value]) -> Value:
    return await anext(items)


async def reply(value: Replied[Value]) -> Value:
    """Return what a client of either kind answered."""
    if isinstance(value, Awaitable):
        answer: Value = await value
        return answer
    return value


class SyncAsync(Generic[P, Value]):
    """A coroutine function that a plain call runs at once; on an event loop, `await it.awaited(…)`."""

    __slots__ = ("awaited",)

    def __init__(self, awaited: Callable[P, Work[Value]]) -> None:
        self.awaited = awaited

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Value:
        """Run it to its end in this thread."""
        return run_sync(self.awaited(*args, **kwargs))


class sync_async(Generic[Owner, P, Value]):  # noqa: N801 - a decorator is spelt like a function
    """
    Make a method `SyncAsync`: `store.record(job)` in a thread, `await store.record.awaited(job)` on an event loop.
    """

    def __init__(self, method: Callable[Concatenate[Owner, P], Work[Value]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, owner: Owner, _kind: type[Owner]) -> SyncAsync[P, Value]:
        return SyncAsync(partial(self._method, owner))
