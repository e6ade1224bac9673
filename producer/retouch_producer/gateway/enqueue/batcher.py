"""Collects requests that arrive at the same time, and enqueues their jobs together in one round trip to Redis."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool

from retouch.publisher import Publisher
from retouch.store.jobs import EnqueueResult, JobStore, NewJob, refused
from retouch.store.redis_client import clear_errors
from retouch.tracing import OFF, Tracing

_TOGETHER_MOST = 100
_Waiting = tuple[Sequence[NewJob], asyncio.Future[list[EnqueueResult]]]


class EnqueueBatcher:
    """
    Enqueues the jobs of all requests of one process, one batch after another.

    If no batch is in progress, a new request is enqueued at once. While a batch is enqueued, new requests wait and then
    go together into the next batch.
    """

    def __init__(self, jobs: JobStore, publisher: Publisher, tracing: Tracing = OFF) -> None:
        self._jobs, self._publisher, self._tracing = jobs, publisher, tracing
        self._waiting: dict[str, deque[_Waiting]] = {}
        self._task: asyncio.Task[None] | None = None

    async def enqueue(self, jobs: Sequence[NewJob]) -> list[EnqueueResult]:
        """
        Enqueue jobs of one tenant, and return their results in order.

        If the whole batch fails, the result of each job is a refusal.
        """
        if not jobs:
            return []
        with self._tracing.enqueue(jobs) as (traced, span):
            waiter: asyncio.Future[list[EnqueueResult]] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(jobs[0].tenant, deque()).append((traced, waiter))
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._run())
            results = await waiter
            span.enqueued(results)
        return results

    async def _run(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            results = iter(await run_in_threadpool(self._enqueue, [job for jobs, _ in batch for job in jobs]))
            for jobs, waiter in batch:
                own = [next(results) for _ in jobs]
                if not waiter.done():  # the request may have been cancelled meanwhile
                    waiter.set_result(own)

    def _next_batch(self) -> list[_Waiting]:
        """Remove and return the requests of the next batch, up to 100 jobs. Tenants take turns."""
        batch: list[_Waiting] = []
        count = 0
        while self._waiting:
            tenant, waiting = next(iter(self._waiting.items()))
            count += len(waiting[0][0])
            if batch and count > _TOGETHER_MOST:
                break
            batch.append(waiting.popleft())
            # A dict keeps the order of insertion: inserted again, the tenant is the last.
            del self._waiting[tenant]
            if waiting:
                self._waiting[tenant] = waiting
        return batch

    def _enqueue(self, jobs: list[NewJob]) -> list[EnqueueResult]:
        try:
            with clear_errors():
                results, messages = self._jobs.enqueue(jobs)
            self._publisher.publish(messages)
        except Exception as error:  # noqa: BLE001 - every waiting request must be answered, whatever went wrong
            return [refused(error) for _ in jobs]
        return results
