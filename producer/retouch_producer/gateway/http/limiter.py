"""Limits how much runs at once, in total and for each tenant, so that no tenant takes the whole capacity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple

from retouch_producer.gateway.http.errors import ProblemError
from retouch_producer.gateway.http.tenant_load import TenantLoad

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")


class Limiter:
    """
    Lets at most `at_once` requests run in total, and at most `per_tenant` requests of each tenant.

    Up to `waiting` more requests of each tenant wait for their turn. Any further request gets the problem
    `too-many-at-once`. The duration of each turn is noted in `load`.
    """

    def __init__(
        self, at_once: int, per_tenant: int, waiting: int, retry_after_s: float = 1.0, load: TenantLoad | None = None
    ) -> None:
        self._load = load or TenantLoad()
        self._all, self._per_tenant, self._most_of_tenant = asyncio.Semaphore(at_once), per_tenant, per_tenant + waiting
        self._retry_after_s = retry_after_s
        self._by_tenant: dict[str, tuple[asyncio.Semaphore, int]] = {}

    def count(self, tenant: str) -> int:
        """Return how many requests of a tenant run or wait."""
        return self._by_tenant.get(tenant, (None, 0))[1]

    @asynccontextmanager
    async def hold(self, tenant: str) -> AsyncIterator[None]:
        """
        Context manager that waits for a turn and holds it during the block. Raises the problem `too-many-at-once`.
        """
        own, users = self._by_tenant.get(tenant) or (asyncio.Semaphore(self._per_tenant), 0)
        if users >= self._most_of_tenant:
            detail = f"expected at most {self._most_of_tenant} of these at once from one tenant; nothing was done"
            raise ProblemError("too-many-at-once", detail, retry_after_s=self._retry_after_s)
        self._by_tenant[tenant] = own, users + 1
        try:
            # In this order: a request that waits for its own tenant occupies no turn that others could use.
            async with own, self._all:
                with self._load.timed(tenant):
                    yield
        finally:
            own, users = self._by_tenant[tenant]
            self._by_tenant[tenant] = own, users - 1
            if users == 1:
                del self._by_tenant[tenant]


class Bulkhead:
    """
    A thread pool for one kind of slow work, with a limit for each tenant.

    Slow work has threads of its own. The threads that all routes share are for calls to Redis.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        per_tenant: int,
        waiting: int,
        retry_after_s: float = 1.0,
        load: TenantLoad | None = None,
    ) -> None:
        self._turns = Limiter(threads, per_tenant, waiting, retry_after_s, load)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._running: set[asyncio.Task[object]] = set()

    async def run(self, tenant: str, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """
        Run `work` in a thread once its tenant has a turn, and return its value. Raises the problem `too-many-at-once`.
        """
        # A thread cannot be cancelled: if the caller disconnects, the turn is released only once the work has ended.
        task = asyncio.create_task(self._run(tenant, work, *arguments))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _run(self, tenant: str, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        async with self._turns.hold(tenant):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def close(self) -> None:
        """Close the threads; work that runs ends within a deadline of its own."""
        self._threads.shutdown(wait=False, cancel_futures=True)
