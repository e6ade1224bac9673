"""What the routes of one gateway process share: stores, caches, limiters. Connections are opened on first use."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from cachetools import TTLCache
from fastapi import Depends, FastAPI, Request
from starlette.concurrency import run_in_threadpool

from retouch.connections import Connections
from retouch.egress.fair_limiter import decoding_limiter
from retouch.egress.webhook import TIMEOUT_S
from retouch.settings import Settings
from retouch.store.audit import AuditLog
from retouch.store.ledger import Ledger
from retouch.store.links import LinkSigner
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.store.scripts import compose_all
from retouch.store.tenants import ApiKey, TenantStore
from retouch.tracing import open_tracing
from retouch_producer.documents import Document, job_document
from retouch_producer.gateway.enqueue.input_capture import InputCapture
from retouch_producer.gateway.enqueue.service import EnqueueService
from retouch_producer.gateway.events.event_hub import EventHub
from retouch_producer.gateway.http.auth import KeyCache, actor_of, may_see
from retouch_producer.gateway.http.errors import not_found
from retouch_producer.gateway.http.limiter import Bulkhead, Limiter
from retouch_producer.gateway.http.request_turns import REQUESTS_AT_ONCE, REQUESTS_PER_TENANT, REQUESTS_WAITING
from retouch_producer.gateway.http.tenant_load import MEMORY_S, TenantLoad

BATCHES_AT_ONCE, BATCHES_PER_TENANT, BATCHES_WAITING = 8, 2, 64
"""Bounds on the batches in memory, in all, of a tenant, and waiting: a body of 4 MB becomes 20 MB of objects."""
UPLOADS_AT_ONCE, UPLOADS_PER_TENANT, UPLOADS_WAITING = 8, 2, 64
"""Bounds on the uploads in memory. Further ones wait, so a slow upload delays only uploads of its own tenant."""
FILES_AT_ONCE, FILES_PER_TENANT, FILES_WAITING = 16, 8, 256
TESTS_AT_ONCE, TESTS_PER_TENANT = 16, 4
BULK_AT_ONCE, BULK_PER_TENANT, BULK_WAITING = 8, 2, 2
"""Bounds on previews of bulk runs. Each may count for 10 s, and proxies would give up those that wait for long."""
BULK_RETRY_S = 5.0
CROWD = 8
"""A tenant of which this many requests are processed or wait is busy for a while, before it has used much."""
_TENANTS_MOST = 10_000


class Dependencies:
    """
    The stores, caches, limiters and services of one gateway process; `requests` counts answers by route and status.
    """

    def __init__(self, settings: Settings) -> None:
        compose_all()
        self.settings = settings
        self.connections = Connections(settings, open_tracing(settings, "retouch-gateway"))
        self.client = self.connections.client
        self.tenants = TenantStore(self.client)
        self.ledger = Ledger(self.client)
        self.audit = AuditLog(self.client)
        self.key_cache = KeyCache(self.tenants)
        self.signer = LinkSigner(self.client)
        self.blobs = self.connections.blobs
        self.load = TenantLoad()
        self.decoding = decoding_limiter()
        self.input_capture = InputCapture(settings, self.blobs, self.client, self.decoding, self.load)
        self.enqueue_service = EnqueueService(self.connections, self.input_capture)
        self.event_hub = EventHub(self.connections)
        self.upload_limiter = Limiter(UPLOADS_AT_ONCE, UPLOADS_PER_TENANT, UPLOADS_WAITING)
        self.uploads = Bulkhead("uploads", UPLOADS_AT_ONCE, UPLOADS_PER_TENANT, UPLOADS_WAITING, load=self.load)
        self.files = Bulkhead("files", FILES_AT_ONCE, FILES_PER_TENANT, FILES_WAITING, load=self.load)
        self.bulk = Bulkhead("bulk", BULK_AT_ONCE, BULK_PER_TENANT, BULK_WAITING, BULK_RETRY_S, self.load)
        self.receiver_tests = Bulkhead("receiver-tests", TESTS_AT_ONCE, TESTS_PER_TENANT, 0, TIMEOUT_S)
        self.request_limiter = Limiter(REQUESTS_AT_ONCE, REQUESTS_PER_TENANT, REQUESTS_WAITING, load=self.load)
        self.batch_limiter = Limiter(BATCHES_AT_ONCE, BATCHES_PER_TENANT, BATCHES_WAITING)
        self.requests = Counter[tuple[str, int]]()
        self._crowded: TTLCache[str, bool] = TTLCache(_TENANTS_MOST, MEMORY_S)
        self._sent_large: TTLCache[str, bool] = TTLCache(_TENANTS_MOST, MEMORY_S)

    def record(self, job: str, key: ApiKey) -> JobRecord:
        """Return a job's record. Raises the problem `not-found` if the id is unknown or the job is another tenant's."""
        with clear_errors():
            record = self.connections.jobs.record(job)
        if record is None or not may_see(key, record.spec.tenant):
            raise not_found("job")
        return record

    def job_document(self, record: JobRecord, *, replayed: bool = False, shared: bool = False) -> Document:
        """
        Return a job as `/v1` shows it, with freshly signed links to its images.

        `replayed` is true if the job was found by its idempotency key. `shared` is true if an earlier request for the
        same edit made the job.
        """
        document = job_document(record, self.blobs.link, self.settings.price_per_call)
        path = f"/v1/edits/{record.id}"
        parts = ("image", "thumbnail", "timeline", "events", "cancel", "replay", "approve", "unapprove")
        links: dict[str, str | None] = {"self": path, **{part: f"{path}/{part}" for part in parts}}
        links["input"] = f"{path}/input" if record.spec.input else None
        return {**document, "replayed": replayed, "shared": shared, "links": links}

    def slows_others(self, tenant: str | None, is_large: bool = False) -> bool:
        """
        Return whether a request would make other present tenants slow.

        This is true if the tenant uses much more time of this process than another tenant. It is also true for a few
        seconds after the tenant had many requests in this process at once. It is true for a large request, unless this
        is the first one of the tenant in a few seconds. `tenant` is None if this process has not seen the caller's key.
        """
        if self.load.is_alone(tenant or ""):
            return False
        if tenant is None:
            return is_large
        if self.request_limiter.count(tenant) >= CROWD:
            self._crowded[tenant] = True
        if is_large and tenant not in self._sent_large:
            self._sent_large[tenant] = True
            is_large = False
        return is_large or tenant in self._crowded or self.load.is_busy(tenant)

    def note_change(self, key: ApiKey, action: str, tenant: str = "", **details: object) -> None:
        """Write to the audit that the holder of this API key made a change."""
        with clear_errors():
            self.audit.record(actor_of(key), action, tenant, **details)

    async def close(self) -> None:
        """Stop reading the feed, and close all threads and connections."""
        await self.event_hub.close()
        for bulkhead in (self.uploads, self.files, self.bulk, self.receiver_tests, self.input_capture):
            bulkhead.close()
        self.client.close()
        await run_in_threadpool(self.connections.tracing.close)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Context manager for FastAPI that closes the dependencies when the application stops."""
    yield
    await app.state.dependencies.close()


async def dependencies_of(request: Request) -> Dependencies:
    """Return the dependencies of the application that serves this request."""
    # A plain function would run in a thread, for every request.
    dependencies: Dependencies = request.app.state.dependencies
    return dependencies


Injected = Annotated[Dependencies, Depends(dependencies_of)]
"""The type of a route's parameter to which FastAPI passes the application's `Dependencies`."""
