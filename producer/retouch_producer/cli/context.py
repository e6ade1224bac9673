"""The context of a command: its settings, and an open connection to Redis or to a gateway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from retouch.client import EditQueue
from retouch.connections import Connections
from retouch.errors import SettingsError, StoreUnavailable
from retouch.events import Event
from retouch.options import DEFAULT_TENANT
from retouch.settings import Settings
from retouch.store import history
from retouch.store.answers import RawAnswer
from retouch.store.audit import Actor
from retouch.store.failing_receivers import FailingReceiver
from retouch.store.ledger import By, UsageRow
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.store.stats import Stats
from retouch.store.worker_presence import Worker, worker_presence
from retouch.sync_async import run_sync
from retouch.transport.factory import open_transport
from retouch.transport.interface import BlockingTransport, OnlyOverRedis
from retouch_producer.cli.errors import NoStore, UsageError
from retouch_producer.cli.input_image import InputImage
from retouch_producer.documents import Document, job_document
from retouch_producer.findings.job_wait import wait_of

if TYPE_CHECKING:
    from retouch.transport.gateway_transport import GatewayTransport


@dataclass(frozen=True, slots=True)
class CommandContext:
    """
    The settings and connections of one command. `queue` is the public client, and `transport` reaches Redis or a
    gateway.

    `connections` are the stores in Redis, for commands of operators. They are not available over a gateway.
    """

    settings: Settings
    queue: EditQueue
    transport: BlockingTransport

    @property
    def connections(self) -> Connections:
        """The stores in Redis. Raises `UsageError` if the command is connected to a gateway."""
        try:
            return self.transport.connections
        except OnlyOverRedis as error:
            raise UsageError(str(error)) from None

    def admission_settings(self, callback: str | None) -> Settings:
        """
        Return the settings with which a request is checked before it is sent.

        Over a gateway, these settings allow every network and this `callback`, since only the gateway knows its own
        rules.
        """
        return self.transport.admission_settings([callback or ""])

    def input_link(self, blob: str) -> str:
        """
        Return the link that the picture `blob` will have once it is stored.

        Over a gateway, return a placeholder, since the gateway makes the link only when the picture is stored.
        """
        return run_sync(self.transport.input_link(blob))

    def store_input(self, picture: InputImage, tenant: str = DEFAULT_TENANT) -> str:
        """Store a local picture for as long as its job needs it, and return the URL that the endpoint reads."""
        if picture.path is None:
            return picture.url
        return run_sync(self.transport.keep_input(picture.blob, picture.read(), tenant))

    def note_change(self, action: str, tenant: str = "", **details: object) -> None:
        """Write one line to the audit, with `cli` as its surface. Raises `UsageError` over a gateway."""
        self.connections.audit.record(Actor("cli"), action, tenant, **details)

    def record(self, job: str) -> JobRecord:
        """Return the record of a job. Raises `UnknownJob`."""
        return self.queue.job(job).record()

    def records(self, jobs: Sequence[str]) -> list[JobRecord]:
        """Return the records of jobs, without those that are no longer on record."""
        return run_sync(self.transport.records(jobs))

    def document(self, record: JobRecord) -> Document:
        """
        Return a job as a JSON object, with signed links to its images.

        Over a gateway, the links are URLs that need the API key.
        """
        return job_document(record, self.transport.image_links(record), self.settings.price_per_call)

    def image(self, record: JobRecord, index: int) -> bytes:
        """Return the bytes of one image of a job; `index` is its index in `record.images`. Raises `BlobMissing`."""
        return run_sync(self.transport.image(record.id, record.images[index], index))

    def events(self, job: str, after: int = -1) -> tuple[list[Event], bool]:
        """Return the events of a job with a sequence number above `after`, and whether the job has ended."""
        return run_sync(self.transport.timeline(job, after))

    def raw_answer(self, job: str) -> RawAnswer | None:
        """Return the endpoint's last raw answer about a job, or None if none is on record."""
        return run_sync(self.transport.raw_answer(job))

    def wait_of(self, record: JobRecord) -> Document | None:
        """Return why a job waits, as a JSON object; None if it is over."""
        if gateway := self._gateway:
            return run_sync(gateway.wait(record.id))
        found = wait_of(record, self.connections)
        return found.document if found else None

    @property
    def _gateway(self) -> GatewayTransport | None:
        """The transport if it reaches a gateway, for calls that a client of Redis makes to the stores themselves."""
        if not self.settings.gateway_url:
            return None
        # Imported here: a command over Redis needs no HTTP.
        from retouch.transport.gateway_transport import GatewayTransport

        assert isinstance(self.transport, GatewayTransport)
        return self.transport

    def workers(self) -> Sequence[Worker]:
        """Return the workers that have announced themselves."""
        if gateway := self._gateway:
            return run_sync(gateway.workers())
        return worker_presence(self.connections.client).workers

    def ended(self) -> dict[str, int]:
        """Return how many jobs have ever ended, by state."""
        return run_sync(self.transport.ended())

    def failing(self, most: int) -> tuple[int, list[FailingReceiver]]:
        """
        Return how many receivers fail, and up to `most` of them. The receiver that has failed for longest is first.
        """
        return run_sync(self.transport.failing(most))

    def usage(self, tenant: str | None, since: date | None, by: By) -> list[UsageRow]:
        """Return the sums of the ledger. Over a gateway, amounts use the gateway's price."""
        return run_sync(self.transport.usage(tenant, since, by))

    def stats(self, tenant: str | None, since: float, by: history.By | None) -> Stats:
        """Return the statistics from an instant until now. Amounts use the same price as in `usage`."""
        return run_sync(self.transport.stats(tenant, since, by))

    def news(self, after: str | None) -> tuple[str, set[str]]:
        """
        Wait briefly for events after a cursor. Return the next cursor, and the ids of the jobs that had events.

        If `after` is None, return the newest cursor at once, and no ids.
        """
        return run_sync(self.transport.news(after))


@contextmanager
def open_context() -> Iterator[CommandContext]:
    """
    Context manager that yields the context of a command, once Redis or the gateway has answered.

    Raises `SettingsError` for invalid settings. Raises `NoStore` if Redis or the gateway does not answer, at the start
    or during the block.
    """
    settings = Settings.load()
    try:
        transport = open_transport(settings, "cli")
        context = CommandContext(settings, EditQueue(settings=settings, surface="cli"), transport)
    except ValueError:
        # The original error may quote the URL with its password.
        raise SettingsError(["RETOUCH_REDIS_URL: expected redis://[user:password@]host[:port][/number]"]) from None
    try:
        run_sync(context.transport.require_answer())
        with clear_errors():
            yield context
    except StoreUnavailable as error:
        raise NoStore(str(error)) from error
    finally:
        context.queue.close()
        run_sync(context.transport.close())
