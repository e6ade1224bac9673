"""
The two ways in which a client waits: by blocking its thread, or by letting the event loop go on.

This is all that differs between `EditQueue` and `AsyncEditQueue`; what they do is written once, against `Concurrency`.
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

_THREADS = 16  # what an asyncio client may be at outside the loop at once: files, messages, HTTP calls


class Signal(Protocol):
    """What a thread or task waits for until another one sets it."""

    def set(self) -> None:
        """Wake whoever waits."""

    def clear(self) -> None:
        """Make the next wait last until the signal is set again."""

    def is_set(self) -> bool:
        """Return whether the signal was set since it was last cleared."""

    async def wait_within(self, limit_s: float) -> None:
        """Wait until the signal is set, for `limit_s` seconds at most."""


class ThreadSignal(threading.Event):
    """A signal for threads."""

    async def wait_within(self, limit_s: float) -> None:
        """Block the thread until the signal is set."""
        self.wait(limit_s)


class LoopSignal(asyncio.Event):
    """A signal for tasks of one event loop."""

    async def wait_within(self, limit_s: float) -> None:
        """Suspend the task until the signal is set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self.wait()


class Concurrency(Protocol):
    """How to wait, to leave work to others, and to go on beside."""

    def signal(self) -> Signal:
        """Make a signal that is not set yet."""

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""

    async def yield_control(self) -> None:
        """Let others have their turn, in the middle of long work."""

    async def run_blocking(self, work: Callable[[*Arguments], Value], *args: *Arguments) -> Value:
        """Give what a function returns that may block, without holding up an event loop."""

    def start(self, work: Work[None]) -> None:
        """Start work that goes on by itself until it ends or this is closed."""

    async def close(self) -> None:
        """Give up what was started and kept."""


class ThreadConcurrency:
    """Waits by blocking the calling thread."""

    def signal(self) -> ThreadSignal:
        """Make a signal that is not set yet."""
        return ThreadSignal()

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)  # noqa: ASYNC251 - blocking is what this class is for

    async def yield_control(self) -> None:
        """Go on: other threads have their turn anyway."""

    async def run_blocking(self, work: Callable[[*Arguments], Value], *args: *Arguments) -> Value:
        """Call it here."""
        return work(*args)

    def start(self, work: Work[None]) -> None:
        """Run it in a thread that does not keep the process alive."""
        threading.Thread(target=run_sync, args=(work,), name="retouch-feed", daemon=True).start()

    async def close(self) -> None:
        """Do nothing: the threads end when they find their connection closed."""


class LoopConcurrency:
    """Waits while the event loop goes on. Belongs to the loop on which it is first used."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="retouch")
        self._beside: set[asyncio.Task[None]] = set()

    def signal(self) -> LoopSignal:
        """Make a signal that is not set yet."""
        return LoopSignal()

    async def sleep(self, seconds: float) -> None:
        """Suspend for a while."""
        await asyncio.sleep(seconds)

    async def yield_control(self) -> None:
        """Give the loop a turn."""
        await asyncio.sleep(0)

    async def run_blocking(self, work: Callable[[*Arguments], Value], *args: *Arguments) -> Value:
        """Call it in one of a few threads of this client."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def start(self, work: Work[None]) -> None:
        """Run it as a task."""
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def close(self) -> None:
        """Cancel the tasks; the threads end with what they are at. May be used again afterwards."""
        tasks = list(self._beside)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="retouch")
