"""What a producing command works at: the settings and the queue, over Redis or a gateway, once that has answered."""

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
    The queue for what a backend could do too, the access for what commands ask beside.

    `connections` are the stores themselves, for what only people ask for: they are out of reach over a gateway.
    """

    settings: Settings
    queue: EditQueue
    transport: Transport

    @property
    def connections(self) -> Connections:
        """The stores behind the queue; raises `WrongUse` over a gateway."""
        if isinstance(self.transport, RedisTransport):
            return self.transport.connections
        raise WrongUse("this works at Redis itself: unset RETOUCH_GATEWAY_URL, and set RETOUCH_REDIS_URL")

    def admission_settings(self, callback: str | None) -> Settings:
        """What requests are judged by here: a gateway judges by its own settings what ours may forbid."""
        return (
            self.settings
            if isinstance(self.transport, RedisTransport)
            else gateway_side_settings(self.settings, [callback or ""])
        )

    def link(self, name: str) -> str:
        """Mint a link to a kept image."""
        return self.connections.blobs.link(name)

    def input_link(self, blob: str) -> str:
        """Give the link that a kept picture will have; over a gateway, a stand-in until it is uploaded."""
        if isinstance(self.transport, RedisTransport):
            return self.connections.blobs.link(blob)
        return f"https://upload.invalid/{blob}"

    def store_input(self, picture: InputImage, tenant: str = DEFAULT_TENANT) -> str:
        """Keep a local picture as long as its job may wait and be on record; gives the URL that the endpoint reads."""
        if picture.path is None:
            return picture.url
        if isinstance(self.transport, GatewayTransport):
            return self.transport.upload(picture.read())
        for_s = self.settings.deadline_s + self.settings.retention_s
        picture.keep(self.connections.blobs, self.connections.client, for_s, tenant)
        return self.input_link(picture.blob)

    def record(self, job: str) -> JobRecord:
        """Read one job; raises `UnknownJob`."""
        return self.queue.job(job).record()

    def records(self, jobs: Sequence[str]) -> list[JobRecord]:
        """Read many jobs, without those that are gone."""
        return run_sync(self.transport.records(jobs))

    def document(self, record: JobRecord) -> Document:
        """Describe a job as JSON, with links to its image; over a gateway, to the addresses that ask for the key."""
        job_url = f"{self.settings.gateway_url}/v1/edits/{record.id}"

        indexes = {image.name: index for index, image in reversed([*enumerate(record.images)])}
        queries = {name: f"?index={index}" if index else "" for name, index in indexes.items()}
        queries |= {thumbnail_name(name): query for name, query in queries.items()}

        def route(name: str) -> str:
            return f"{job_url}/{'thumbnail' if is_thumbnail(name) else 'image'}{queries[name]}"

        link = self.link if isinstance(self.transport, RedisTransport) else route
        return job_document(record, link, self.settings.price_per_call)

    def image(self, record: JobRecord, place: int) -> bytes:
        """Read one image of a job; raises `BlobMissing`."""
        return run_sync(self.transport.image(record.id, record.images[place], place))

    def events(self, job: str, after: int = -1) -> tuple[list[Event], bool]:
        """Read what happened to a job above a sequence, and whether it was over after that."""
        return run_sync(self.transport.timeline(job, after))

    def ended(self) -> dict[str, int]:
        """Count the jobs that ended, by state, since ever."""
        return (
            self.transport.ended() if isinstance(self.transport, GatewayTransport) else self.connections.jobs.counts()
        )

    def usage(self, tenant: str | None, since: date | None, by: By) -> list[UsageRow]:
        """Sum up calls, at the price that the other side's settings name."""
        if isinstance(self.transport, GatewayTransport):
            return self.transport.usage(tenant, since, by)
        price = self.settings.price_per_call
        return Ledger(self.connections.client).usage(tenant=tenant, since=since, by=by, price_per_call=price)

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
        context = CommandContext(settings, EditQueue(settings=settings), open_transport(settings, ThreadConcurrency()))
    except ValueError:
        raise SettingsError(["RETOUCH_REDIS_URL: expected redis://[user:password@]host[:port][/number]"]) from None
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
                f"Redis at {address} refuses us: {error}; nothing was done. Correct RETOUCH_REDIS_URL."
            ) from None
        raise NoStore(
            f"Redis at {address} does not answer ({type(error).__name__}); nothing was done. Run `retouch up` in this "
            "folder, or point RETOUCH_REDIS_URL at a Redis that runs."
        ) from error
