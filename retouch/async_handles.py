"""Jobs and results for a backend on an event loop: the members of `retouch.handles`, awaited where they do I/O."""

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
    """The edited image; `image`, `url` and `save()` are awaited, the other members are read at once."""

    __slots__ = ()

    @property
    def image(self) -> Awaitable[bytes]:
        """The image file's bytes, read outside the event loop. Raises `BlobError` if the store cannot read them."""
        return self.transport.image(self.job_id, self.kept, self.index)

    @property
    def url(self) -> Awaitable[str]:
        """A link to the image that anybody may open; it expires."""
        return self.transport.link(self.job_id, self.kept, self.index)

    async def save(self, path: str | PathLike[str]) -> Path:
        """Write the image to a file, outside the event loop, and return its path."""
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
        """Read everything on record about the job; see `Job.record`."""
        return await self._transport.record(self.id)

    @property
    def state(self) -> Awaitable[JobState]:
        """The state of the job now: `await job.state`."""
        return self._state()

    async def _state(self) -> JobState:
        return JobState((await self.record()).state)

    async def cancel(self) -> str:
        """Cancel: `cancelled`, `requested` or `final`; see `Job.cancel`."""
        return await self._transport.cancel(self.id)

    async def replay(self) -> str:
        """Enqueue a dead letter again: `replayed`, `open` or `succeeded`; see `Job.replay`."""
        return await self._transport.replay(self.id)

    async def result(self, timeout_s: float | None = None) -> AsyncEditResult:
        """
        Wait for the image for up to `timeout_s` seconds; None waits for ever, 0 looks once.

        Raises `EditFailed`, `EditCancelled` or `ResultTimeout`. The job goes on after a `ResultTimeout`, and if the
        task that waits here is cancelled.
        """
        return AsyncEditResult(self.id, await images_of(self._transport, self.id, timeout_s), self._transport)

    def events(self, after: int = -1) -> AsyncIterator[Event]:
        """Yield the job's events, also those to come; see `Job.events`."""
        return events_of(self._transport, self.id, after)

    async def deliveries(self) -> list[DeliveryRecord]:
        """List the job's webhooks and callbacks with all their attempts."""
        return await self._transport.deliveries_of(self.id)
