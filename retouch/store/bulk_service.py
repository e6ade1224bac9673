"""The service that previews and starts bulk runs."""

from __future__ import annotations

from dataclasses import replace

from retouch.store.accounts import highest_price
from retouch.store.audit import Actor
from retouch.store.bulk import BulkRequest, BulkRun, BulkStore, Preview
from retouch.store.bulk_chunks import BulkChunks
from retouch.store.jobs import JobStore
from retouch.store.redis_commands import Client


class BulkService:
    """Bulk runs for the gateway, the console and Python clients. `store` reads and aborts runs. All methods block."""

    def __init__(self, client: Client, *, retention_s: float, max_charges: int, price_per_call: float = 0.0) -> None:
        self.store, self._client, self._price_per_call = BulkStore(client), client, price_per_call
        self._chunks = BulkChunks(JobStore(client, retention_s=retention_s), max_charges)

    def preview(self, request: BulkRequest) -> Preview:
        """
        Return how many jobs and deliveries a run would act on now, how many calls it may make, and what these may cost;
        change nothing.
        """
        found = self._chunks.preview(request)
        if not found.calls_most:
            return found
        price = highest_price(self._client, request.query.tenants, self._price_per_call)
        return replace(found, amount_most=round(found.calls_most * price, 6))

    def start(self, request: BulkRequest, actor: Actor, tenant: str, idempotency_key: str = "") -> BulkRun:
        """Preview and create a run, and return it; a repeated idempotency key returns the earlier run."""
        return self.store.create(request, actor, tenant, lambda: self.preview(request), idempotency_key)
