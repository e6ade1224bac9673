"""The context of a command: its settings, and an open connection to Redis or to a gateway."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import redis

from retouch.admission import DEFAULT_TENANT
from retouch.blobs import is_thumbnail, thumbnail_name
from retouch.client import EditQueue
from retouch.concurrency import ThreadConcurrency
from retouch.connections import Connections
from retouch.errors import SettingsError, StoreUnavailable
from retouch.events import Event
from retouch.settings import Settings
from retouch.store.ledger import By, Ledger, UsageRow
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.sync_async import run_sync
from retouch.transport.factory import open_transport
from retouch.transport.gateway_transport import GatewayTransport, gateway_side_settings
from retouch.transport.interface import Transport
from retouch.transport.redis_transport import RedisTransport
from retouch_producer.cli.errors import NoStore, WrongUse
from retouch_producer.cli.input_image import InputImage
from retouch_producer.documents import Document, job_document


@dataclass(frozen=True, slots=True)
class CommandContext:
    """
    What a command works with: `queue` is the public client, `transport` the connection behind it.

    `connections` are the stores in Redis, for the commands of operators; they cannot be reached over a gateway.
    """

    settings: Settings
    queue: EditQueue
    transport: Transport

    @property
    def connections(self) -> Connections:
        """The stores in Redis. Raises `WrongUse` over a gateway."""
        if isinstance(self.transport, RedisTransport):
            return self.transport.connections
        raise WrongUse("this command needs Redis: unset RETOUCH_GATEWAY_URL, and set RETOUCH_REDIS_URL")

    def admission_settings(self, callback: str | None) -> Settings:
        """Return the settings to check requests with; what only a gateway can judge is left to the gateway."""
        return (
            self.settings
            if isinstance(self.transport, RedisTransport)
            else gateway_side_settings(self.settings, [callback or ""])
        )

    def link(self, name: str) -> str:
        """Return a fresh signed link to a kept image."""
        return self.connections.blobs.link(name)

    def input_link(self, blob: str) -> str:
        """Return the link that a picture will have once it is kept; over a gateway, a placeholder until the upload."""
        if isinstance(self.transport, RedisTransport):
            return self.connections.blobs.link(blob)
        # A name under `.invalid` passes the check of addresses and never resolves (RFC 2606).
        return f"https://upload.invalid/{blob}"

    def store_input(self, picture: InputImage, tenant: str = DEFAULT_TENANT) -> str:
        """Keep a local picture for as long as its job needs it, and return the URL that the endpoint reads."""
        if picture.path is None:
            return picture.url
        if isinstance(self.transport, GatewayTransport):
            return self.transport.upload(picture.read())
        # The job may wait until its deadline, and may be replayed for as long as it is on record.
        for_s = self.settings.deadline_s + self.settings.retention_s
        picture.keep(self.connections.blobs, self.connections.client, for_s, tenant)
        return self.input_link(picture.blob)

    def record(self, job: str) -> JobRecord:
        """Return the record of a job. Raises `UnknownJob`."""
        return self.queue.job(job).record()

    def records(self, jobs: Sequence[str]) -> list[JobRecord]:
        """Return the records of jobs, without those that are no longer on record."""
        return run_sync(self.transport.records(jobs))

    def document(self, record: JobRecord) -> Document:
        """Return a job as JSON, with signed links to its images; over a gateway, with URLs that need the API key."""
        job_url = f"{self.settings.gateway_url}/v1/edits/{record.id}"

        # Where two results are the same image, the first one's index names it.
        indexes = {image.name: index for index, image in reversed([*enumerate(record.images)])}
        queries = {name: f"?index={index}" if index else "" for name, index in indexes.items()}
        queries |= {thumbnail_name(name): query for name, query in queries.items()}

        def route(name: str) -> str:
            return f"{job_url}/{'thumbnail' if is_thumbnail(name) else 'image'}{queries[name]}"

        link = self.link if isinstance(self.transport, RedisTransport) else route
        return job_document(record, link, self.settings.price_per_call)

    def image(self, record: JobRecord, place: int) -> bytes:
        """Return the bytes of one image of a job. Raises `BlobMissing`."""
        return run_sync(self.transport.image(record.id, record.images[place], place))

    def events(self, job: str, after: int = -1) -> tuple[list[Event], bool]:
        """Return the events of a job after a sequence number, and whether the job has ended."""
        return run_sync(self.transport.timeline(job, after))

    def ended(self) -> dict[str, int]:
        """Return how many jobs ever ended, by state."""
        return (
            self.transport.ended() if isinstance(self.transport, GatewayTransport) else self.connections.jobs.counts()
        )

    def usage(self, tenant: str | None, since: date | None, by: By) -> list[UsageRow]:
        """Return the sums of the ledger; amounts use the price in the settings of the gateway, if there is one."""
        if isinstance(self.transport, GatewayTransport):
            return self.transport.usage(tenant, since, by)
        price = self.settings.price_per_call
        return Ledger(self.connections.client).usage(tenant=tenant, since=since, by=by, price_per_call=price)

    def news(self, after: str | None) -> tuple[str, set[str]]:
        """Wait briefly for events after a cursor; return the new cursor and the ids of their jobs. None starts now."""
        return run_sync(self.transport.news(after))


@contextmanager
def open_context() -> Iterator[CommandContext]:
    """
    Read the settings, check that Redis answers, and close the connections at the end.

    Raises `SettingsError`, and `NoStore` when Redis or the gateway does not answer, now or later.
    """
    settings = Settings.load()
    try:
        context = CommandContext(settings, EditQueue(settings=settings), open_transport(settings, ThreadConcurrency()))
    except ValueError:
        # The original error may quote the URL with its password.
        raise SettingsError(["RETOUCH_REDIS_URL: expected redis://[user:password@]host[:port][/number]"]) from None
    # A gateway needs no such check: the first call to it fails with a message of its own.
    if isinstance(context.transport, RedisTransport):
        _require_answer(context)
    try:
        with clear_errors():
            yield context
    except StoreUnavailable as error:
        raise NoStore(str(error)) from error
    finally:
        context.queue.close()
        run_sync(context.transport.close())


def _require_answer(context: CommandContext) -> None:
    try:
        context.connections.client.ping()
    except redis.RedisError as error:
        where = context.connections.client.connection_pool.connection_kwargs
        address = where.get("path") or f"{where.get('host')}:{where.get('port') or 6379}"
        if isinstance(error, (redis.AuthenticationError, redis.ResponseError)):
            raise NoStore(
                f"Redis at {address} refuses the connection: {error}; nothing was done. Correct RETOUCH_REDIS_URL."
            ) from None
        raise NoStore(
            f"Redis at {address} does not answer ({type(error).__name__}); nothing was done. Run `retouch up` in this "
            "folder, or point RETOUCH_REDIS_URL at a Redis that runs."
        ) from error
