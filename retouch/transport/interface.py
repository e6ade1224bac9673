"""The interface of transports: the calls that a client can make to the queue, over Redis and over a gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import date
from typing import Protocol

from retouch.concurrency import Concurrency
from retouch.connections import Connections
from retouch.edit import Edit
from retouch.errors import RetouchError, UnknownJob
from retouch.events import Event, Link
from retouch.options import JobOptions
from retouch.outcomes import Image
from retouch.query import JobQuery
from retouch.settings import Settings
from retouch.store import history
from retouch.store.answers import RawAnswer
from retouch.store.audit import AuditFilter, AuditLine
from retouch.store.deliveries import DeliveryRecord
from retouch.store.failing_receivers import FailingReceiver
from retouch.store.jobs import EnqueueResult
from retouch.store.lanes import LaneNumbers
from retouch.store.ledger import By, UsageRow
from retouch.store.receivers import Receiver
from retouch.store.records import JobRecord
from retouch.store.stats import Stats
from retouch.transport.bulk_interface import BulkTransport
from retouch.transport.feed_listener import Listener

EditWithOptions = tuple[Edit, JobOptions]
"""An edit and the options that apply to it alone."""


def not_on_record(job: str) -> UnknownJob:
    """Return the error for a job that is not on record."""
    return UnknownJob(f"job {job} is not on record: it never existed, or its retention is over")


class OnlyOverRedis(RetouchError):
    """The call needs the stores, which only a client over Redis can reach; nothing was done."""

    def __init__(self) -> None:
        super().__init__("this command needs Redis: unset RETOUCH_GATEWAY_URL, and set RETOUCH_REDIS_URL")


class Transport(Protocol):
    """
    The calls that a client can make to the queue. `EditQueue` and `Job` document each call.

    All calls raise `StoreUnavailable` while Redis or the gateway does not answer. Calls about one job raise
    `UnknownJob` for an unknown id. Both transports can make all of these calls, in threads and on event loops.
    """

    concurrency: Concurrency
    listener: Listener
    bulk: BulkTransport

    def admission_settings(self, callbacks: Iterable[str]) -> Settings:
        """Return the settings for checking requests before they are sent; `callbacks` are those in the requests."""

    async def require_answer(self) -> None:
        """Raise `StoreUnavailable`, with advice for an operator, unless Redis or the gateway answers."""

    async def open(self) -> None:
        """Load the parts that take long to load; otherwise the first calls load them."""

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""

    async def news(self, after: str | None) -> tuple[str, set[str]]:
        """
        Return the next cursor, and the ids of the jobs that had events after the cursor `after`.

        See `retouch.transport.feed_listener.News`.
        """

    async def enqueue(self, edits: Sequence[EditWithOptions], common: JobOptions) -> list[EnqueueResult]:
        """Enqueue edits and return a result for each, in order. Every result has a job, since a refusal is raised."""

    async def record(self, job: str) -> JobRecord:
        """Return a job; raise `UnknownJob` if it is not on record."""

    async def records(self, jobs: Sequence[str]) -> list[JobRecord]:
        """Return the records of `jobs`, in the order of the given ids. Jobs that are not on record are left out."""

    async def timeline(self, job: str, after: int) -> tuple[list[Event], bool]:
        """Return a job's events whose sequence is above `after`, and whether the job had ended when they were read."""

    async def raw_answer(self, job: str) -> RawAnswer | None:
        """Return the endpoint's last answer on record about a job, as it came; None if there is none."""

    async def image(self, job: str, stored: Image, index: int = 0) -> bytes:
        """Return the bytes of one of a job's images; `index` counts from 0, in the order of the job's results."""

    async def link(self, job: str, stored: Image, index: int = 0) -> str:
        """Return a new link to one of a job's images; `index` counts from 0, in the order of the job's results."""

    def jobs(
        self, query: JobQuery, tenant: str | None, limit: int, on_page: Callable[[int], object] = ...
    ) -> AsyncGenerator[JobRecord, None]:
        """
        Yield up to `limit` jobs that match a query, newest first; `tenant` is the owner of the jobs, None for all.
        """

    async def cancel(self, job: str) -> str:
        """Cancel a job; return what happened, as `Job.cancel` does."""

    async def replay(self, job: str) -> str:
        """Enqueue a failed or cancelled job again; return what happened, as `Job.replay` does."""

    async def approve(self, job: str) -> str:
        """Mark the result of a job as approved; return what happened, as `Job.approve` does."""

    async def unapprove(self, job: str) -> str:
        """Take the mark of a job back; return what happened, as `Job.unapprove` does."""

    async def events(self, after: str, limit: int) -> list[tuple[str, Event]]:
        """Return up to `limit` (cursor, event) pairs of the feed that follow the cursor `after`, oldest first."""

    async def deliveries(self, dead: bool, since: float, limit: int) -> list[DeliveryRecord]:
        """Return up to `limit` deliveries, newest first; with `dead`, only dead letters. `since` is in Unix seconds."""

    async def deliveries_of(self, job: str) -> list[DeliveryRecord]:
        """Return a job's deliveries, oldest first."""

    async def redeliver(self, delivery: str) -> str:
        """Send a delivery again by hand; return what happened, as `EditQueue.redeliver` does."""

    async def keep_input(self, name: str, data: bytes, tenant: str) -> str:
        """
        Store a picture for as long as a job may need it, and return its `init_image` URL; `name` is the blob's name.
        """

    async def input_link(self, name: str) -> str:
        """
        Return the `init_image` URL that a picture will have once it is stored.

        Raises `InvalidEdit` if the endpoint could not read that URL.
        """

    async def audit(self, wanted: AuditFilter, limit: int) -> list[AuditLine]:
        """Return up to `limit` matching lines of the audit, newest first."""

    async def ended(self) -> dict[str, int]:
        """Return {state: number of jobs that have ever ended in this state}."""

    async def failing(self, most: int) -> tuple[int, list[FailingReceiver]]:
        """Return how many receivers fail, and up to `most` of those that have failed longest."""

    async def usage(self, tenant: str | None, since: date | None, by: By) -> list[UsageRow]:
        """Return the calls of one tenant or of all (None) since a UTC day, summed up by tenant, day or tag."""

    async def stats(self, tenant: str | None, since: float, by: history.By | None) -> Stats:
        """Return the statistics from an instant (Unix seconds) until now, of one tenant or of all."""

    async def receiver(self, url: str, tenant: str) -> Receiver:
        """Return the receiver at a URL; create one if there is none."""

    async def pause(self, lane: str) -> None:
        """Stop dispatching in a lane; jobs that hold a slot go on."""

    async def resume(self, lane: str) -> None:
        """Allow dispatching in a lane again."""

    async def status(self, lane: str) -> LaneNumbers:
        """Return the numbers of a lane."""


class BlockingTransport(Transport, Protocol):
    """A transport for code that may block. Its calls never suspend, so `run_sync` runs each one to its end."""

    @property
    def connections(self) -> Connections:
        """Return the stores behind the queue; raise `OnlyOverRedis` if the transport uses a gateway."""

    def image_links(self, record: JobRecord) -> Link:
        """Return a function that makes a link from a blob's name, for this job's images and thumbnails."""
