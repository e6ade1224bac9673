"""Bulk runs over the HTTP gateway."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

from retouch.errors import UnknownJob
from retouch.json_types import JsonObject
from retouch.options import DEFAULT_TENANT
from retouch.store.bulk import BulkRun, Preview
from retouch.transport.bulk_interface import BulkAsk, run_not_on_record
from retouch.transport.documents import bulk_run_from, preview_from

_PAGE_MOST = 200


class GatewayBulk:
    """Calls about the bulk runs that the client's API key may see; `get` and `post` send requests to the gateway."""

    def __init__(self, get: Callable[..., Awaitable[JsonObject]], post: Callable[..., Awaitable[JsonObject]]) -> None:
        self._get, self._post = get, post

    async def preview(self, ask: BulkAsk) -> Preview:
        """Return how many jobs a run would act on, and what that would cost; change nothing."""
        return preview_from((await self._post("/v1/bulk", {**_body(ask), "dry_run": True}))["preview"])

    async def start(self, ask: BulkAsk) -> BulkRun:
        """Create a run and return it; an idempotency key that was used before returns the earlier run."""
        # Without an idempotency key of the caller, use a random one: then a call with a lost answer may be repeated.
        key = ask.idempotency_key or f"auto-{secrets.token_hex(12)}"
        return bulk_run_from(await self._post("/v1/bulk", {**_body(ask), "idempotency_key": key}))

    async def find(self, run: str) -> BulkRun:
        """Return one run; raise `UnknownJob` if it is not on record."""
        try:
            return bulk_run_from(await self._get(f"/v1/bulk/{run}"))
        except UnknownJob:
            raise run_not_on_record(run) from None

    async def page(self, limit: int) -> list[BulkRun]:
        """Return up to `limit` runs, 200 at most, newest first."""
        answer = await self._get("/v1/bulk", {"limit": min(limit, _PAGE_MOST)})
        return [bulk_run_from(one) for one in answer["data"]]

    async def abort(self, run: str) -> str:
        """Abort a run; return `aborted`, or `final` if the run was over. Raise `UnknownJob` for an unknown id."""
        try:
            return str((await self._post(f"/v1/bulk/{run}/abort"))["outcome"])
        except UnknownJob:
            raise run_not_on_record(run) from None


def _body(ask: BulkAsk) -> JsonObject:
    tenant = None if ask.tenant == DEFAULT_TENANT else ask.tenant
    body = {"action": ask.action, "query": ask.query, "tenant": tenant, "priority": ask.priority}
    return {**{name: value for name, value in body.items() if value is not None}, "dead": ask.dead}
