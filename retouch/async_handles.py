"""The members of `retouch.handles` for a backend on an event loop: members that do I/O are awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from os import PathLike
from pathlib import Path

from retouch.events import Event
from retouch.handles import ImageFacts
from retouch.states import JobState
from retouch.store.deliveries import DeliveryRecord
from retouch.store.records import JobRecord
from retouch.transport.interface import Transport
from retouch.transport.job_follower import events_of, images_of


class AsyncEditResult(ImageFacts):
    """An edited image. `image`, `url` and `save()` are awaited; the other members are read at once."""

    __slots__ = ()

    @property
    def image(self) -> Awaitable[bytes]:
        """
        Return an awaitable for the bytes of the image file, which are read outside the event loop.

        Awaiting it raises `BlobError` if the store cannot read them.
        """
        return self.transport.image(self.job_id, self.stored, self.index)

    @property
    def url(self) -> Awaitable[str]:
        """Return an awaitable for a link to the image that anybody may open; the link expires."""
        return self.transport.link(self.job_id, self.stored, self.index)

    async def save(self, path: str | PathLike[str]) -> Path:
        """Write the image to a file, outside the event loop, and return the file's path."""
        target = Path(path)
        await self.transport.concurrency.run_blocking(target.write_bytes, await self.image)
        return target


class AsyncJob:
    """A handle on one job with the members of `retouch.Job`, awaited: `await job.state`, `async for … in events()`."""

    def __init__(self, identity: str, transport: Transport, *, replayed: bool = False) -> None:
        self.id, self.replayed, self._transport = identity, replayed, transport

    def __repr__(self) -> str:
        return f"AsyncJob({self.id!r})"

    async def record(self) -> JobRecord:
        """Return everything on record about the job, as `Job.record` does."""
        return await self._transport.record(self.id)

    @property
    def state(self) -> Awaitable[JobState]:
        """Return an awaitable for the present state of the job: `await job.state`."""
        return self._state()

    async def _state(self) -> JobState:
        return JobState((await self.record()).state)

    async def cancel(self) -> str:
        """Cancel the job; return `cancelled`, `requested` or `final`, as `Job.cancel` does."""
        return await self._transport.cancel(self.id)

    async def replay(self) -> str:
        """Enqueue a failed or cancelled job again; return `replayed`, `open` or `succeeded`, as `Job.replay` does."""
        return await self._transport.replay(self.id)

    async def approve(self) -> str:
        """Mark the result as approved; return `approved`, `unchanged` or `no_result`, as `Job.approve` does."""
        return await self._transport.approve(self.id)

    async def unapprove(self) -> str:
        """Take the mark back; return `unapproved`, `unchanged` or `no_result`, as `Job.unapprove` does."""
        return await self._transport.unapprove(self.id)

    async def result(self, timeout_s: float | None = None) -> AsyncEditResult:
        """
        Wait up to `timeout_s` seconds for the image and return it; None waits for ever, 0 does not wait.

        Raises `EditFailed`, `EditCancelled` or `ResultTimeout`. The job goes on after a `ResultTimeout`, and also if
        the task that waits here is cancelled.
        """
        return AsyncEditResult(self.id, await images_of(self._transport, self.id, timeout_s), self._transport)

    def events(self, after: int = -1) -> AsyncIterator[Event]:
        """Return an async iterator of the job's events, past and future ones, as `Job.events` does."""
        return events_of(self._transport, self.id, after)

    async def deliveries(self) -> list[DeliveryRecord]:
        """Return the job's webhooks and callbacks with all their attempts."""
        return await self._transport.deliveries_of(self.id)
