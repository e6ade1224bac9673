"""`AsyncEditQueue`: the client for a backend on an event loop. It never blocks the loop."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Self, Unpack, overload

from retouch.async_handles import AsyncJob
from retouch.client import EditRequest, with_options
from retouch.edit import Edit
from retouch.events import Event
from retouch.options import DEFAULT_TENANT, JobOptions, Priority, StateName
from retouch.query import list_query
from retouch.settings import Settings
from retouch.states import JobState
from retouch.store.audit import Surface
from retouch.store.bulk import BulkAction, BulkRun, Preview
from retouch.store.deliveries import DeliveryRecord
from retouch.store.lanes import LaneNumbers
from retouch.store.receivers import Receiver
from retouch.transport.bulk_interface import BulkAsk
from retouch.transport.factory import open_loop_transport, settings_for


class AsyncEditQueue:
    """
    `retouch.EditQueue` for asyncio: the same arguments, methods, results and errors, awaited.

    Make one queue per process, inside the running loop, for example in a web application's lifespan. `async with` loads
    the slow parts when it is entered; without it, the first call loads them. Any number of tasks may share the queue.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        settings: Settings | None = None,
        surface: Surface = "python",
        **overrides: object,
    ) -> None:
        self._settings = settings_for(url, api_key, settings, overrides)
        self._transport = open_loop_transport(self._settings, surface)

    @property
    def settings(self) -> Settings:
        """Return the settings of this client."""
        return self._settings

    def __repr__(self) -> str:
        return f"AsyncEditQueue({self.settings.address!r})"

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections and end the queue's own tasks; a later call opens new connections."""
        await self._transport.close()

    async def enqueue(self, edit: Edit, **options: Unpack[JobOptions]) -> AsyncJob:
        """Enqueue one edit and return its job; options and errors are those of `EditQueue.enqueue`."""
        return (await self.enqueue_many([(edit, options)]))[0]

    async def enqueue_many(self, edits: Iterable[EditRequest], **options: Unpack[JobOptions]) -> list[AsyncJob]:
        """Enqueue many edits and return their jobs in order; see `EditQueue.enqueue_many`."""
        results = await self._transport.enqueue(with_options(edits), options)
        return [AsyncJob(one.id, self._transport, replayed=one.kind == "replayed") for one in results]

    def job(self, job_id: str) -> AsyncJob:
        """Return a handle on a job, without I/O; reading an unknown job raises `UnknownJob`."""
        return AsyncJob(job_id, self._transport)

    @overload
    def jobs(
        self,
        state: StateName | JobState | None = None,
        *,
        query: str | None = None,
        tenant: str | None = DEFAULT_TENANT,
        since: float = 0.0,
        limit: int = 100,
    ) -> AsyncIterator[AsyncJob]: ...

    @overload
    def jobs(
        self, query: str, /, *, tenant: str | None = DEFAULT_TENANT, since: float = 0.0, limit: int = 100
    ) -> AsyncIterator[AsyncJob]: ...

    async def jobs(
        self,
        state: str | None = None,
        *,
        query: str | None = None,
        tenant: str | None = DEFAULT_TENANT,
        since: float = 0.0,
        limit: int = 100,
    ) -> AsyncIterator[AsyncJob]:
        """Yield jobs, newest first, as `EditQueue.jobs` does."""
        async for record in self._transport.jobs(list_query(state, query, since, time.time()), tenant, limit):
            yield AsyncJob(record.id, self._transport)

    async def cancel(self, job_id: str) -> str:
        """Cancel a job; return what happened, as `Job.cancel` does."""
        return await self._transport.cancel(job_id)

    async def replay(self, job_id: str) -> str:
        """Enqueue a failed or cancelled job again; return what happened, as `Job.replay` does."""
        return await self._transport.replay(job_id)

    async def approve(self, job_id: str) -> str:
        """Mark the result of a job as approved; return what happened, as `Job.approve` does."""
        return await self._transport.approve(job_id)

    async def unapprove(self, job_id: str) -> str:
        """Take the mark of a job back; return what happened, as `Job.unapprove` does."""
        return await self._transport.unapprove(job_id)

    async def bulk_preview(
        self,
        action: BulkAction,
        query: str,
        *,
        tenant: str | None = DEFAULT_TENANT,
        priority: Priority | None = None,
        dead: bool = False,
    ) -> Preview:
        """Return the number of jobs on which `bulk` would act, and the cost; see `EditQueue.bulk_preview`."""
        ask = BulkAsk(action, query, tenant, priority, dead)
        return await self._transport.bulk.preview(ask)

    async def bulk(
        self,
        action: BulkAction,
        query: str,
        *,
        tenant: str | None = DEFAULT_TENANT,
        priority: Priority | None = None,
        dead: bool = False,
        idempotency_key: str = "",
    ) -> BulkRun:
        """Start an action on all jobs that match a query; workers carry it out. See `EditQueue.bulk`."""
        ask = BulkAsk(action, query, tenant, priority, dead, idempotency_key)
        return await self._transport.bulk.start(ask)

    async def bulk_run(self, run_id: str) -> BulkRun:
        """Return a bulk run, with its progress and the outcomes so far. Raises `UnknownJob` for an unknown id."""
        return await self._transport.bulk.find(run_id)

    async def bulk_runs(self, *, limit: int = 100) -> list[BulkRun]:
        """Return the bulk runs of the last 90 days, newest first, up to `limit`."""
        return await self._transport.bulk.page(limit)

    async def abort_bulk(self, run_id: str) -> str:
        """
        Abort a bulk run; return `aborted`, or `final` if the run was over. Moves that the run has made are not undone.
        """
        return await self._transport.bulk.abort(run_id)

    async def events(self, after: str = "0", *, limit: int = 1_000) -> list[tuple[str, Event]]:
        """Return a page of the feed: (cursor, event) pairs, oldest first, as `EditQueue.events` does."""
        return await self._transport.events(after, limit)

    async def receiver(self, url: str, tenant: str = DEFAULT_TENANT) -> Receiver:
        """Return the receiver at a webhook URL, with its secret, as `EditQueue.receiver` does."""
        return await self._transport.receiver(url, tenant)

    async def deliveries(self, *, dead: bool = False, since: float = 0.0, limit: int = 100) -> list[DeliveryRecord]:
        """Return deliveries with their attempts, newest first, as `EditQueue.deliveries` does."""
        return await self._transport.deliveries(dead, since, limit)

    async def redeliver(self, deliveries: Sequence[str]) -> dict[str, str]:
        """Send deliveries again by hand; return what happened to each, as `EditQueue.redeliver` does."""
        return {item: await self._transport.redeliver(item) for item in deliveries}

    async def pause(self, lane: str = "edits") -> None:
        """Stop dispatching in a lane, as `EditQueue.pause` does."""
        await self._transport.pause(lane)

    async def resume(self, lane: str = "edits") -> None:
        """Dispatch in a lane again, as `EditQueue.resume` does."""
        await self._transport.resume(lane)

    async def status(self, lane: str = "edits") -> LaneNumbers:
        """Return the numbers of a lane, as `EditQueue.status` does."""
        return await self._transport.status(lane)
