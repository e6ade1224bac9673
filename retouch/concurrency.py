"""
The two ways in which a client waits: it blocks its thread, or it suspends its task while the event loop goes on.

`EditQueue` and `AsyncEditQueue` differ only in this. They share their code, which waits by calling `Concurrency`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Protocol, TypeVar, TypeVarTuple

from retouch.sync_async import Work, run_sync

Value = TypeVar("Value")
Arguments = TypeVarTuple("Arguments")

_THREADS = 16  # how many files, messages and HTTP calls an asyncio client works on at once


class Signal(Protocol):
    """A flag that threads or tasks wait for, and that another thread or task sets."""

    def set(self) -> None:
        """Set the signal, which wakes all that wait for it."""

    def clear(self) -> None:
        """Clear the signal, so that later waits last until it is set again."""

    def is_set(self) -> bool:
        """Return whether the signal was set since it was last cleared."""

    async def wait_within(self, limit_s: float) -> None:
        """Wait until the signal is set, for `limit_s` seconds at most."""


class ThreadSignal(threading.Event):
    """A signal for threads."""

    async def wait_within(self, limit_s: float) -> None:
        """Block the thread until the signal is set, for `limit_s` seconds at most."""
        self.wait(limit_s)


class LoopSignal(asyncio.Event):
    """A signal for tasks of one event loop."""

    async def wait_within(self, limit_s: float) -> None:
        """Suspend the task until the signal is set, for `limit_s` seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self.wait()


class Concurrency(Protocol):
    """The way in which a client waits, calls functions that block, and runs work in the background."""

    def signal(self) -> Signal:
        """Return a new signal that is not set."""

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` seconds."""

    async def yield_control(self) -> None:
        """Let other tasks run in the middle of long work."""

    async def run_blocking(self, work: Callable[[*Arguments], Value], *args: *Arguments) -> Value:
        """Call a function that may block, without blocking an event loop, and return its value."""

    def start(self, work: Work[None]) -> None:
        """Start work in the background; it runs until it ends or `close` is called."""

    async def close(self) -> None:
        """End the background work and release the threads."""


class ThreadConcurrency:
    """Waits by blocking the calling thread."""

    def signal(self) -> ThreadSignal:
        """Return a new signal that is not set."""
        return ThreadSignal()

    async def sleep(self, seconds: float) -> None:
        """Block the thread for `seconds` seconds."""
        time.sleep(seconds)  # noqa: ASYNC251 - blocking is what this class is for

    async def yield_control(self) -> None:
        """Do nothing: other threads run anyway."""

    async def run_blocking(self, work: Callable[[*Arguments], Value], *args: *Arguments) -> Value:
        """Call the function in this thread and return its value."""
        return work(*args)

    def start(self, work: Work[None]) -> None:
        """Start the work in a thread that does not keep the process alive."""
        threading.Thread(target=run_sync, args=(work,), name="retouch-feed", daemon=True).start()

    async def close(self) -> None:
        """Do nothing: the threads end once their connections are closed."""


class LoopConcurrency:
    """Waits by suspending the task while the event loop goes on. It belongs to the loop on which it is first used."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="retouch")
        self._beside: set[asyncio.Task[None]] = set()

    def signal(self) -> LoopSignal:
        """Return a new signal that is not set."""
        return LoopSignal()

    async def sleep(self, seconds: float) -> None:
        """Suspend the task for `seconds` seconds."""
        await asyncio.sleep(seconds)

    async def yield_control(self) -> None:
        """Let the loop run other tasks."""
        await asyncio.sleep(0)

    async def run_blocking(self, work: Callable[[*Arguments], Value], *args: *Arguments) -> Value:
        """Call the function in one of this client's threads and return its value."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def start(self, work: Work[None]) -> None:
        """Start the work as a task."""
        task = asyncio.create_task(work)
        self._beside.add(task)  # asyncio itself keeps no reference, and a task without one may vanish
        task.add_done_callback(self._beside.discard)

    async def close(self) -> None:
        """
        Cancel the background tasks and wait for their end; each thread ends after the call that it is running.

        The object may be used again afterwards.
        """
        tasks = list(self._beside)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="retouch")
