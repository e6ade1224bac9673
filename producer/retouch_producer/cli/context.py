"""What a producing command works at: the settings and the queue, over Redis or a gateway, once that has answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from retouch.admission import DEFAULT_TENANT
from retouch.client import EditQueue
from retouch.connections import Connections
from retouch.errors import SettingsError, StoreUnavailable
from retouch.events import Event
from retouch.settings import Settings
from retouch.store.failing_receivers import FailingReceiver
from retouch.store.ledger import By, UsageRow
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.sync_async import run_sync
from retouch.transport.factory import open_transport
from retouch.transport.interface import BlockingTransport, OnlyOverRedis
from retouch_producer.cli.errors import NoStore, WrongUse
from retouch_producer.cli.input_image import InputImage
from retouch_producer.documents import Document, job_document


@dataclass(frozen=True, slots=True)
class CommandContext:
    """
    The queue for what a backend could do too, the access for what commands ask beside.

    `connections` are the stores themselves, for what only people ask for: they are out of reach over a gateway.
    """

    settings: Settings
    queue: EditQueue
    transport: BlockingTransport

    @property
    def connections(self) -> Connections:
        """The stores behind the queue; raises `WrongUse` over a gateway."""
        try:
            return self.transport.connections
        except OnlyOverRedis as error:
            raise WrongUse(str(error)) from None

    def admission_settings(self, callback: str | None) -> Settings:
        """Return the settings by which requests are checked here."""
        return self.transport.admission_settings([callback or ""])

    def input_link(self, blob: str) -> str:
        """Return the link that a picture will have once it is kept."""
        return run_sync(self.transport.input_link(blob))

    def store_input(self, picture: InputImage, tenant: str = DEFAULT_TENANT) -> str:
        """Keep a local picture as long as its job may need it; return the URL that the endpoint reads."""
        if picture.path is None:
            return picture.url
        return run_sync(self.transport.keep_input(picture.blob, picture.read(), tenant))

    def record(self, job: str) -> JobRecord:
        """Read one job; raises `UnknownJob`."""
        return self.queue.job(job).record()

    def records(self, jobs: Sequence[str]) -> list[JobRecord]:
        """Read many jobs, without those that are gone."""
        return run_sync(self.transport.records(jobs))

    def document(self, record: JobRecord) -> Document:
        """Describe a job as JSON, with links to its images."""
        return job_document(record, self.transport.image_links(record), self.settings.price_per_call)

    def image(self, record: JobRecord, place: int) -> bytes:
        """Read one image of a job; raises `BlobMissing`."""
        return run_sync(self.transport.image(record.id, record.images[place], place))

    def events(self, job: str, after: int = -1) -> tuple[list[Event], bool]:
        """Read what happened to a job above a sequence, and whether it was over after that."""
        return run_sync(self.transport.timeline(job, after))

    def ended(self) -> dict[str, int]:
        """Count the jobs that ever ended, by state."""
        return run_sync(self.transport.ended())

    def failing(self, most: int) -> tuple[int, list[FailingReceiver]]:
        """Count the receivers that fail, and read those that have failed longest; at most `most`."""
        return run_sync(self.transport.failing(most))

    def usage(self, tenant: str | None, since: date | None, by: By) -> list[UsageRow]:
        """Sum up calls, at the price that the other side's settings name."""
        return run_sync(self.transport.usage(tenant, since, by))

    def news(self, after: str | None) -> tuple[str, set[str]]:
        """Wait a little for news of jobs behind a cursor; None gives the newest cursor."""
        return run_sync(self.transport.news(after))


@contextmanager
def open_context() -> Iterator[CommandContext]:
    """
    Read the settings, make sure that Redis or the gateway answers, and close the connections behind the command.

    Raises `SettingsError`, and `NoStore` whenever the other side falls silent.
    """
    settings = Settings.load()
    try:
        context = CommandContext(settings, EditQueue(settings=settings), open_transport(settings))
    except ValueError:
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
