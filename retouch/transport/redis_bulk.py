"""Bulk runs over Redis."""

from __future__ import annotations

import time
from dataclasses import replace

from retouch.concurrency import Concurrency
from retouch.connections import SharedConnections
from retouch.options import DEFAULT_TENANT
from retouch.query import JobQuery
from retouch.store.audit import Actor
from retouch.store.bulk import BulkRequest, BulkRun, Preview, read_request
from retouch.store.redis_client import clear_errors
from retouch.transport.bulk_interface import BulkAsk, run_not_on_record


class RedisBulk:
    """Calls about bulk runs in the store. For a client on an event loop, each blocking call runs in a thread."""

    def __init__(self, connections: SharedConnections, concurrency: Concurrency, actor: Actor) -> None:
        self._connections, self._concurrency, self._actor = connections, concurrency, actor

    async def preview(self, ask: BulkAsk) -> Preview:
        """Return how many jobs a run would act on, and what that would cost; see `EditQueue.bulk_preview`."""
        with clear_errors():
            return await self._concurrency.run_blocking(self._connections.bulk.preview, _request(ask))

    async def start(self, ask: BulkAsk) -> BulkRun:
        """Create a run and return it; see `EditQueue.bulk`."""
        start, tenant = self._connections.bulk.start, ask.tenant or DEFAULT_TENANT
        with clear_errors():
            return await self._concurrency.run_blocking(start, _request(ask), self._actor, tenant, ask.idempotency_key)

    async def find(self, run: str) -> BulkRun:
        """Return one run; raise `UnknownJob` if it is not on record."""
        with clear_errors():
            found = await self._concurrency.run_blocking(self._connections.bulk.store.find, run)
        if found is None:
            raise run_not_on_record(run)
        return found

    async def page(self, limit: int) -> list[BulkRun]:
        """Return up to `limit` runs of all tenants, newest first."""
        with clear_errors():
            return await self._concurrency.run_blocking(self._connections.bulk.store.page, "", limit)

    async def abort(self, run: str) -> str:
        """Abort a run; return `aborted`, or `final` if the run was over. Raise `UnknownJob` for an unknown id."""
        with clear_errors():
            word = await self._concurrency.run_blocking(self._connections.bulk.store.abort, run, self._actor)
        if word == "unknown":
            raise run_not_on_record(run)
        return word


def _request(ask: BulkAsk) -> BulkRequest:
    def narrow(query: JobQuery) -> JobQuery:
        return replace(query, tenants=query.tenants or ((ask.tenant,) if ask.tenant else ()))

    return read_request(ask.action, ask.query, ask.priority, ask.dead, time.time(), narrow)
