"""What a client over Redis is made of: the stores, the publisher of messages, the blob store."""

from __future__ import annotations

from functools import cached_property

from retouch.blobs import BlobStore, open_blobs
from retouch.publisher import Publisher
from retouch.settings import Settings
from retouch.store.audit import AuditLog
from retouch.store.bulk_service import BulkService
from retouch.store.deliveries import DeliveryStore
from retouch.store.jobs import JobStore
from retouch.store.lanes import Lanes
from retouch.store.links import LinkSigner
from retouch.store.receivers import ReceiverStore
from retouch.store.redis_client import connect, connect_on_loop


class Connections:
    """
    The parts of one process' client; each connects when first used.

    `on_loop`: with a client for asyncio, of the stores' methods only those that run both ways can be awaited. The
    publisher and the blob store are always for threads.
    """

    def __init__(self, settings: Settings, *, on_loop: bool = False) -> None:
        self.settings = settings
        self.client = connect_on_loop(settings) if on_loop else connect(settings)
        self._for_threads = connect(settings) if on_loop else self.client
        self.jobs = JobStore(self.client, retention_s=settings.retention_s)
        self.deliveries = DeliveryStore(self.client)
        self.receivers = ReceiverStore(self.client)
        self.lanes = Lanes(self.client)

    @cached_property
    def publisher(self) -> Publisher:
        """Sends the messages for what was dispatched."""
        return Publisher(self.settings)

    @cached_property
    def bulk(self) -> BulkService:
        """Bulk runs; always for threads."""
        settings = self.settings
        return BulkService(self._for_threads, retention_s=settings.retention_s, max_charges=settings.max_charges)

    @cached_property
    def audit(self) -> AuditLog:
        """Who changed what."""
        return AuditLog(self.client)

    @cached_property
    def blobs(self) -> BlobStore:
        """Where images are kept."""
        return open_blobs(self.settings.store, self.settings.public_url, LinkSigner(self._for_threads))

    def warm(self) -> None:
        """Make what takes long to make, so that no call has to: the publisher, the blob store."""
        _ = self.publisher, self.blobs

    async def close(self) -> None:
        """Give up the connections; whoever uses them again connects again."""
        if "publisher" in self.__dict__:
            self.publisher.close()
        self._for_threads.close()
        if self.client is not self._for_threads:
            await self.client.aclose()
