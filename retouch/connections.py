"""What a queue and its job handles share: the stores, the publisher, the listener."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from retouch.blobs import BlobStore, open_blobs
from retouch.broker import Publisher, make_app
from retouch.errors import UnknownJob
from retouch.feed import Listener
from retouch.settings import Settings
from retouch.store.connect import clear_errors, connect
from retouch.store.deliveries import DeliveryStore
from retouch.store.jobs import JobStore
from retouch.store.lanes import Lanes
from retouch.store.links import LinkSigner
from retouch.store.receivers import ReceiverStore
from retouch.store.scripts import Message


class Connections:
    """The parts of one process' client; each connects when first used."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = connect(settings)
        self.jobs = JobStore(self.client, retention_s=settings.retention_s)
        self.deliveries = DeliveryStore(self.client)
        self.receivers = ReceiverStore(self.client)
        self.lanes = Lanes(self.client)
        self.listener = Listener(self.client)
        self._receiver_ids: dict[tuple[str, str], str] = {}

    @cached_property
    def publisher(self) -> Publisher:
        """Sends the messages for what was dispatched."""
        return Publisher(make_app(self.settings))

    @cached_property
    def blobs(self) -> BlobStore:
        """Where images are kept."""
        return open_blobs(self.settings.store, self.settings.public_url, LinkSigner(self.client))

    def receiver_id(self, tenant: str, url: str) -> str:
        """Give the id of the receiver at a URL, made on first sight."""
        known = self._receiver_ids.get((tenant, url))
        if known is None:
            known = self._receiver_ids[tenant, url] = self.receivers.ensure(tenant, url).id
        return known

    def cancel(self, job: str) -> str:
        """Cancel one job; see `Job.cancel`."""
        return self._move(job, self.jobs.cancel)

    def replay(self, job: str) -> str:
        """Replay one dead letter; see `Job.replay`."""
        return self._move(job, self.jobs.replay)

    def _move(self, job: str, move: Any) -> str:
        with clear_errors():
            word: str
            messages: list[Message]
            word, messages = move(job)
        if word == "unknown":
            raise UnknownJob(f"job {job} is not on record: it never was, or its retention is over")
        self.publisher.publish(messages)
        return word
