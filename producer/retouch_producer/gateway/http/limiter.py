"""Turns at something that is bounded: in all, and for each tenant, so that one tenant cannot take every turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple

from retouch_producer.gateway.http.errors import ProblemError

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Limiter:
    """
    So many at once in all, and of one tenant; who waits for its own tenant's turn takes none of the others'.

    Beyond `waiting` of one tenant that wait, the answer is the problem `too-many-at-once`.
    """

    def __init__(self, at_once: int, per_tenant: int, waiting: int, retry_after_s: float = 1.0) -> None:
        self._all, self._per_tenant, self._most_of_tenant = asyncio.Semaphore(at_once), per_tenant, per_tenant + waiting
        self._retry_after_s = retry_after_s
        self._by_tenant: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def hold(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a turn, and give it back at the end. Raises the problem `too-many-at-once`."""
        own, users = self._by_tenant.get(tenant) or (asyncio.Semaphore(self._per_tenant), 0)
        if users >= self._most_of_tenant:
            detail = f"expected at most {self._most_of_tenant} of these at once from one tenant; nothing was done"
            raise ProblemError("too-many-at-once", detail, retry_after_s=self._retry_after_s)
        self._by_tenant[tenant] = own, users + 1
        try:
            async with own, self._all:
                yield
        finally:
            own, users = self._by_tenant[tenant]
            self._by_tenant[tenant] = own, users - 1
            if users == 1:
                del self._by_tenant[tenant]


class Bulkhead:
    """
    Threads of their own for what waits for the outside, in turns, so that it can stop nothing but its own kind.

    The threads that all routes share are for Redis alone.
    """

    def __init__(self, name: str, threads: int, per_tenant: int, waiting: int, retry_after_s: float = 1.0) -> None:
        self._turns = Limiter(threads, per_tenant, waiting, retry_after_s)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._running: set[asyncio.Task[object]] = set()

    async def run(self, tenant: str, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Do work in a thread when it is the tenant's turn. Raises the problem `too-many-at-once`."""
        # A caller that goes away gives its turn back when its thread is free, not before.
        task = asyncio.create_task(self._run(tenant, work, *arguments))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _run(self, tenant: str, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        async with self._turns.hold(tenant):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def close(self) -> None:
        """Give up the threads; what is under way ends within its own deadline."""
        self._threads.shutdown(wait=False, cancel_futures=True)
