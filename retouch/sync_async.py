"""
Lets code be written once, for threads and for event loops.

The code is a coroutine that waits only inside calls of a client. A blocking client of redis-py returns the reply
itself, and a client for asyncio returns an awaitable; `reply` takes both. With a blocking client, the coroutine never
suspends. Therefore `run_sync` runs it to its end in one step, which takes a few microseconds.
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
"""The reply of a blocking client, or an awaitable for the reply of an asyncio client."""


def run_sync(work: Work[Value]) -> Value:
    """Run a coroutine that never suspends and return its value."""
    try:
        work.send(None)
    except StopIteration as end:
        value: Value = end.value
        return value
    work.close()
    raise AssertionError("this waits for an event loop, so it must be awaited there")


def iterate_sync(items: AsyncGenerator[Value, None]) -> Iterator[Value]:
    """Yield the items of an asynchronous generator that never waits for an event loop."""
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
    """Return the reply of a blocking or an asyncio client; await the value if it is an awaitable."""
    if isinstance(value, Awaitable):
        answer: Value = await value
        return answer
    return value


class SyncAsync(Generic[P, Value]):
    """
    A coroutine function `f` for threads and event loops.

    In a thread, `f(…)` runs the coroutine to its end. On an event loop, `await f.awaited(…)` runs it.
    """

    __slots__ = ("awaited",)

    def __init__(self, awaited: Callable[P, Work[Value]]) -> None:
        self.awaited = awaited

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Value:
        """Run the coroutine to its end in this thread and return its value."""
        return run_sync(self.awaited(*args, **kwargs))


class sync_async(Generic[Owner, P, Value]):  # noqa: N801 - a decorator has the name of a function
    """
    Decorate a method, which becomes a `SyncAsync`.

    In a thread, call `store.record(job)`. On an event loop, call `await store.record.awaited(job)`.
    """

    def __init__(self, method: Callable[Concatenate[Owner, P], Work[Value]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def __get__(self, owner: Owner, _kind: type[Owner]) -> SyncAsync[P, Value]:
        return SyncAsync(partial(self._method, owner))
