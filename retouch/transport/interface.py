"""The interface of transports: what a client can do with the queue, over Redis and over a gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import date
from typing import Protocol

from retouch.concurrency import Concurrency
from retouch.connections import Connections
from retouch.edit import Edit
from retouch.errors import RetouchError, UnknownJob
from retouch.events import Event, Link
from retouch.options import JobOptions
from retouch.outcomes import Image
from retouch.settings import Settings
from retouch.states import JobState
from retouch.store import history
from retouch.store.deliveries import DeliveryRecord
from retouch.store.failing_receivers import FailingReceiver
from retouch.store.jobs import EnqueueResult
from retouch.store.lanes import LaneNumbers
from retouch.store.ledger import By, UsageRow
from retouch.store.receivers import Receiver
from retouch.store.records import JobRecord
from retouch.store.stats import Stats
from retouch.transport.feed_listener import Listener

EditWithOptions = tuple[Edit, JobOptions]
"""One edit with its own options."""


def not_on_record(job: str) -> UnknownJob:
    """Return the error for a job that is not on record."""
    return UnknownJob(f"job {job} is not on record: it never existed, or its retention is over")


class OnlyOverRedis(RetouchError):
    """The call needs the stores themselves, and a gateway has no route for it; nothing was done."""

    def __init__(self) -> None:
        super().__init__("this command needs Redis: unset RETOUCH_GATEWAY_URL, and set RETOUCH_REDIS_URL")


class Transport(Protocol):
    """
    The queue, as a client sees it; `EditQueue` and `Job` document each call.

    All calls raise `StoreUnavailable` while the other side does not answer; those about one job raise `UnknownJob`.
    What is not here cannot be done over every transport, or not on an event loop.
    """

    concurrency: Concurrency
    listener: Listener

    def admission_settings(self, callbacks: Iterable[str]) -> Settings:
        """Return the settings by which requests are checked before they are sent; `callbacks` are those they name."""

    async def require_answer(self) -> None:
        """Raise `StoreUnavailable`, with advice for an operator, unless the other side answers."""

    async def open(self) -> None:
        """Load what takes long; without this, the first calls do it."""

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""

    async def news(self, after: str | None) -> tuple[str, set[str]]:
        """Read which jobs have events since a cursor; see `retouch.transport.feed_listener.News`."""

    async def enqueue(self, edits: Sequence[EditWithOptions], common: JobOptions) -> list[EnqueueResult]:
        """Enqueue edits; every result has a job, since a refusal is raised."""

    async def record(self, job: str) -> JobRecord:
        """Read a job."""

    async def records(self, jobs: Sequence[str]) -> list[JobRecord]:
        """Read many jobs, in order; leave out those that are gone."""

    async def timeline(self, job: str, after: int) -> tuple[list[Event], bool]:
        """Read a job's events above a sequence, and whether the job was final after that."""

    async def image(self, job: str, kept: Image, place: int = 0) -> bytes:
        """Read one of a job's images; `place` is that in its results."""

    async def link(self, job: str, kept: Image, place: int = 0) -> str:
        """Return a new link to one of a job's images."""

    def jobs(
        self, state: JobState | None, tenant: str | None, since: float, limit: int
    ) -> AsyncGenerator[JobRecord, None]:
        """Yield jobs, newest first."""

    async def cancel(self, job: str) -> str:
        """Cancel a job."""

    async def replay(self, job: str) -> str:
        """Replay a dead letter."""

    async def events(self, after: str, limit: int) -> list[tuple[str, Event]]:
        """Read a page of the feed."""

    async def deliveries(self, dead: bool, since: float, limit: int) -> list[DeliveryRecord]:
        """List deliveries."""

    async def deliveries_of(self, job: str) -> list[DeliveryRecord]:
        """List a job's deliveries."""

    async def redeliver(self, delivery: str) -> str:
        """Send a delivery again by hand."""

    async def keep_input(self, name: str, data: bytes, tenant: str) -> str:
        """Keep a picture, by its name in a blob store, as long as a job may need it; return its `init_image` URL."""

    async def input_link(self, name: str) -> str:
        """
        Return the `init_image` URL that a picture will have once it is kept.

        Raises `InvalidEdit` where the endpoint could not read it.
        """

    async def ended(self) -> dict[str, int]:
        """Count the jobs that ever ended, by state."""

    async def failing(self, most: int) -> tuple[int, list[FailingReceiver]]:
        """Count the receivers that fail, and read those that have failed longest; at most `most`."""

    async def usage(self, tenant: str | None, since: date | None, by: By) -> list[UsageRow]:
        """Sum up the calls of one tenant, or of all."""

    async def stats(self, tenant: str | None, since: float, by: history.By | None) -> Stats:
        """Read the statistics from an instant (Unix seconds) until now, of one tenant or of all."""

    async def receiver(self, url: str, tenant: str) -> Receiver:
        """Return the receiver at a URL; a new URL gets one."""

    async def pause(self, lane: str) -> None:
        """Stop dispatching in a lane."""

    async def resume(self, lane: str) -> None:
        """Dispatch in a lane again."""

    async def status(self, lane: str) -> LaneNumbers:
        """Read the numbers of a lane."""


class BlockingTransport(Transport, Protocol):
    """A transport for code that may block: its calls never suspend, so `run_sync` runs each one to its end."""

    @property
    def connections(self) -> Connections:
        """Return the stores behind the queue; raises `OnlyOverRedis` over a gateway."""

    def image_links(self, record: JobRecord) -> Link:
        """Return what makes a link to an image of this job, or to its thumbnail, from its name in the blob store."""
