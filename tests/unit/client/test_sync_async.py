"""`sync_async` makes one method for plain calls and for `await`; the two clients use such methods."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Generator
from typing import Any

import pytest

from retouch import AsyncEditQueue, AsyncEditResult, AsyncJob, EditQueue, EditResult, Job
from retouch.concurrency import Concurrency, LoopConcurrency, ThreadConcurrency
from retouch.sync_async import iterate_sync, reply, run_sync, sync_async

PAIRS = [(EditQueue, AsyncEditQueue), (Job, AsyncJob), (EditResult, AsyncEditResult)]


class Store:
    """
    A class with one method for plain calls and for `await`. `answer` returns the reply or an awaitable of the reply.
    """

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    @sync_async
    async def double(self, *, plus: int = 0) -> int:
        """Read a number and return twice its value."""
        number: int = await reply(self.answer())
        return 2 * number + plus


async def later() -> int:
    await asyncio.sleep(0)
    return 4


def test_one_method_runs_both_ways() -> None:
    """The same method can be called plainly, or awaited in its `awaited` form."""
    assert Store(lambda: 3).double(plus=1) == 7
    assert asyncio.run(Store(later).double.awaited(plus=1)) == 9
    assert asyncio.run(Store(lambda: 3).double.awaited()) == 6


def test_an_error_comes_through_as_it_is() -> None:
    """A plain call raises the error that its coroutine raises."""
    with pytest.raises(ZeroDivisionError):
        Store(lambda: 1 // 0).double()


def test_work_for_an_event_loop_is_refused_in_a_thread() -> None:
    """If the coroutine of a plain call needs an event loop, the call raises AssertionError and does not hang."""
    with pytest.raises(AssertionError, match="must be awaited"):
        Store(later).double()


def test_a_walk_that_is_left_is_closed() -> None:
    """Closing the iterator of `iterate_sync` early closes its async generator."""
    closed = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            for number in range(10):
                yield number
        finally:
            closed.append(True)

    assert list(iterate_sync(numbers())) == list(range(10))
    walk = iterate_sync(numbers())
    assert next(walk) == 0
    assert isinstance(walk, Generator)
    walk.close()
    assert closed == [True, True]


@pytest.mark.parametrize(("plain", "awaited"), PAIRS)
def test_both_clients_have_one_surface(plain: type, awaited: type) -> None:
    """Every public member of the plain client exists in the asyncio client, with the same arguments and defaults."""
    members = {name for name in dir(plain) if not name.startswith("_")}
    assert members == {name for name in dir(awaited) if not name.startswith("_")}
    for name in {*members, "__init__"}:
        one, other = getattr(plain, name), getattr(awaited, name)
        if callable(one):
            assert inspect.signature(one).parameters == inspect.signature(other).parameters, name
        assert isinstance(one, property) == isinstance(other, property), name


def test_waiting_ends_with_the_signal_or_the_time() -> None:
    """With threads and with asyncio, a wait ends when its time is over or when the signal is set."""

    async def wait(concurrency: Concurrency) -> list[Any]:
        signal = concurrency.signal()
        await signal.wait_within(0.01)
        signal.set()
        await signal.wait_within(60)
        await concurrency.yield_control()
        value = await concurrency.run_blocking(divmod, 7, 2)
        await concurrency.close()
        return [signal.is_set(), value]

    assert run_sync(wait(ThreadConcurrency())) == [True, (3, 1)]
    assert asyncio.run(wait(LoopConcurrency())) == [True, (3, 1)]
