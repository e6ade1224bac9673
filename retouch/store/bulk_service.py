"""The service that previews and starts bulk runs."""

from __future__ import annotations

from retouch.store.audit import Actor
from retouch.store.bulk import BulkRequest, BulkRun, BulkStore, Preview
from retouch.store.bulk_chunks import BulkChunks
from retouch.store.deliveries import DeliveryStore
from retouch.store.jobs import JobStore
from retouch.store.redis_commands import Client


class BulkService:
    """Bulk runs for the gateway, the console and Python clients. `store` reads and aborts runs. All methods block."""

    def __init__(self, client: Client, *, retention_s: float, max_charges: int) -> None:
        self.store = BulkStore(client)
        self._chunks = BulkChunks(JobStore(client, retention_s=retention_s), DeliveryStore(client), max_charges)

    def preview(self, request: BulkRequest) -> Preview:
        """
        Return how many jobs and deliveries a run would act on now, and how many calls it may make; change nothing.
        """
        return self._chunks.preview(request)

    def start(self, request: BulkRequest, actor: Actor, tenant: str, idempotency_key: str = "") -> BulkRun:
        """Preview and create a run, and return it; a repeated idempotency key returns the earlier run."""
        return self.store.create(request, actor, tenant, lambda: self.preview(request), idempotency_key)
