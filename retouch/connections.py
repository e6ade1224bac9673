"""The parts of a client over Redis: the stores, the publisher of messages, the blob store."""

from __future__ import annotations

from functools import cached_property

from retouch.blobs import BlobStore, open_blobs
from retouch.publisher import Publisher
from retouch.settings import Settings
from retouch.store.approvals import ApprovalStore
from retouch.store.audit import SharedAuditLog
from retouch.store.bulk_service import BulkService
from retouch.store.deliveries import DeliveryStore, SharedDeliveryStore
from retouch.store.jobs import JobStore, SharedJobStore
from retouch.store.lanes import Lanes, SharedLanes
from retouch.store.links import LinkSigner
from retouch.store.receivers import ReceiverStore, SharedReceiverStore
from retouch.store.redis_client import connect, connect_on_loop
from retouch.store.redis_commands import AnyClient, Client
from retouch.store.scripts import compose_all
from retouch.tracing import Tracing, open_tracing


class SharedConnections:
    """
    The parts that a client in threads and a client on an event loop have in common; each part connects when first used.

    The stores use `client`: a blocking Redis client for threads, or an asyncio Redis client for an event loop. The
    publisher and the blob store always run in threads and use `blocking_client`.
    """

    def __init__(
        self, settings: Settings, client: AnyClient, blocking_client: Client, tracing: Tracing | None = None
    ) -> None:
        self.settings, self.client, self.blocking_client = settings, client, blocking_client
        self.tracing = tracing or open_tracing(settings)
        self.jobs = SharedJobStore(client, retention_s=settings.retention_s)
        self.approvals = ApprovalStore(client)
        self.deliveries = SharedDeliveryStore(client)
        self.receivers = SharedReceiverStore(client)
        self.lanes = SharedLanes(client)

    @cached_property
    def publisher(self) -> Publisher:
        """Return the publisher, which sends the messages for dispatched jobs and deliveries."""
        return Publisher(self.settings)

    @cached_property
    def bulk(self) -> BulkService:
        """Return the service for bulk runs. It blocks, so a client on an event loop calls it in a thread."""
        settings = self.settings
        return BulkService(
            self.blocking_client,
            retention_s=settings.retention_s,
            max_charges=settings.max_charges,
            price_per_call=settings.price_per_call,
        )

    @cached_property
    def audit(self) -> SharedAuditLog:
        """Return the log in which changes by hand are written."""
        return SharedAuditLog(self.client)

    @cached_property
    def blobs(self) -> BlobStore:
        """Return the blob store, where images are kept."""
        return open_blobs(self.settings.store, self.settings.public_url, LinkSigner(self.blocking_client))

    def warm(self) -> None:
        """Create the publisher and the blob store, and compose the scripts; no later call has to wait for this."""
        _ = self.publisher, self.blobs
        compose_all()

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if "publisher" in self.__dict__:
            self.publisher.close()
        self.blocking_client.close()


class Connections(SharedConnections):
    """The parts of a process whose calls to Redis may block. Here, the stores have all their methods."""

    client: Client
    jobs: JobStore
    deliveries: DeliveryStore
    receivers: ReceiverStore
    lanes: Lanes

    def __init__(self, settings: Settings, tracing: Tracing | None = None) -> None:
        client = connect(settings)
        super().__init__(settings, client, client, tracing)
        self.jobs = JobStore(client, retention_s=settings.retention_s)
        self.deliveries = DeliveryStore(client)
        self.receivers = ReceiverStore(client)
        self.lanes = Lanes(client)


class LoopConnections(SharedConnections):
    """The parts of a client on an event loop; its stores have only the methods that can be awaited."""

    def __init__(self, settings: Settings) -> None:
        self._loop_client = connect_on_loop(settings)
        super().__init__(settings, self._loop_client, connect(settings))

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        await super().close()
        await self._loop_client.aclose()
