"""Previews of bulk runs that take long: other requests do not wait for them, and too many are refused at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from retouch import Settings
from retouch.store.bulk import BulkRequest, Preview
from retouch.store.bulk_service import BulkService
from retouch.store.tenants import TenantStore
from retouch_producer.gateway.app import make_gateway
from retouch_producer.gateway.dependencies import BULK_AT_ONCE, BULK_PER_TENANT, BULK_WAITING
from tests.gateway_process import problem

ASKED = {"action": "cancel", "query": "since:1h", "dry_run": True}


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """While the event is not set, each preview counts, for 20 s at most."""
    is_over = threading.Event()

    def count(_self: BulkService, _request: BulkRequest) -> Preview:
        is_over.wait(20.0)
        return Preview(jobs=3)

    monkeypatch.setattr(BulkService, "preview", count)
    yield is_over
    is_over.set()


def test_long_previews_hold_up_nobody(client: Any, redis_url: str, counting: threading.Event) -> None:
    """
    While a tenant's previews count, its other requests and those of other tenants are answered. A preview beyond the
    bound is refused at once, with the time after which to try again.
    """
    secrets = {tenant: TenantStore(client).create_key(tenant)[1] for tenant in ("acme", "globex")}
    own = [tenant for tenant in secrets for _ in range(BULK_PER_TENANT + BULK_WAITING + 1)]

    async def run() -> list[httpx.Response]:
        app = make_gateway(Settings.load(redis_url=redis_url))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=30) as api:
            heads = {tenant: {"Authorization": f"Bearer {secret}"} for tenant, secret in secrets.items()}
            asked = [asyncio.create_task(api.post("/v1/bulk", json=ASKED, headers=heads[tenant])) for tenant in own]
            done, waiting = await asyncio.wait(asked, timeout=20, return_when=asyncio.FIRST_COMPLETED)
            while len(done) < len(secrets):
                more, waiting = await asyncio.wait(waiting, timeout=20, return_when=asyncio.FIRST_COMPLETED)
                done |= more
            for head in heads.values():
                assert (await asyncio.wait_for(api.get("/v1/edits", headers=head), 10)).status_code == 200
            assert not any(task.done() for task in waiting)
            for task in done:
                assert problem(task.result(), "too-many-at-once", 429)
                assert task.result().headers["retry-after"] == "5"
            counting.set()
            answers = [await task for task in waiting]
        await app.state.dependencies.close()
        return answers

    assert len(secrets) * BULK_PER_TENANT <= BULK_AT_ONCE
    answers = asyncio.run(run())
    assert [answer.json()["preview"]["jobs"] for answer in answers] == [3] * (len(own) - len(secrets))
