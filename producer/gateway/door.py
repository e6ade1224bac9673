"""Where jobs go in: requests that arrive together are enqueued together, in one round trip, off the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from starlette.concurrency import run_in_threadpool

from retouch.broker import Publisher
from retouch.store.connect import clear_errors
from retouch.store.jobs import JobStore, NewJob, Verdict

_TOGETHER_MOST = 500
_Asked = tuple[Sequence[NewJob], asyncio.Future[list[Verdict]]]


class Door:
    """
    Enqueues for all requests of one process.

    While one script runs, what arrives waits for the next: at a low rate a request goes alone and at once, under load
    the cost of a round trip, a thread and a message is shared.
    """

    def __init__(self, jobs: JobStore, publisher: Publisher) -> None:
        self._jobs, self._publisher = jobs, publisher
        self._waiting: deque[_Asked] = deque()
        self._task: asyncio.Task[None] | None = None

    async def put_in(self, jobs: Sequence[NewJob]) -> list[Verdict]:
        """Put jobs in, in order, and give what became of each. Raises `StoreUnavailable`."""
        asked: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        self._waiting.append((jobs, asked))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        return await asked

    async def _serve(self) -> None:
        while self._waiting:
            together: list[_Asked] = []
            count = 0
            while self._waiting and (not together or count + len(self._waiting[0][0]) <= _TOGETHER_MOST):
                together.append(self._waiting.popleft())
                count += len(together[-1][0])
            await self._put_in_together(together)

    async def _put_in_together(self, together: list[_Asked]) -> None:
        try:
            verdicts = await run_in_threadpool(self._enqueue, [job for jobs, _ in together for job in jobs])
        except Exception as error:  # noqa: BLE001 - whatever it was, each of those who wait must be told
            for _, asked in together:
                if not asked.done():
                    asked.set_exception(error)
            return
        start = 0
        for jobs, asked in together:
            if not asked.done():
                asked.set_result(verdicts[start : start + len(jobs)])
            start += len(jobs)

    def _enqueue(self, jobs: list[NewJob]) -> list[Verdict]:
        with clear_errors():
            verdicts, messages = self._jobs.enqueue(jobs)
        self._publisher.publish(messages)
        return verdicts
