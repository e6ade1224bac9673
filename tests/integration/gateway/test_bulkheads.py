"""
Calls to receivers, to the image store and to hosts of pictures have separate threads. While one of these hangs, other
requests do not wait.
"""

from __future__ import annotations

import asyncio
import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import requests
from PIL import Image

from retouch import Settings
from retouch.blobs import open_blobs
from retouch.egress.fair_limiter import decoding_limiter
from retouch.egress.http import download
from retouch.store.links import LinkSigner
from retouch_producer.gateway.dependencies import TESTS_PER_TENANT
from retouch_producer.gateway.enqueue.input_capture import InputCapture
from retouch_producer.gateway.http.errors import ProblemError
from retouch_producer.gateway.http.limiter import Bulkhead
from retouch_producer.gateway.http.tenant_load import TenantLoad
from tests.gateway_process import Callers, problem
from tests.integration.faulty_servers import LOOPBACK, RawServer, answer, answering, trouble
from tests.process_watch import eventually

SHARED_THREADS = 40
"""The number of Starlette's threads, which serve the routes of all tenants."""


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2 * SHARED_THREADS) as pool:
        yield pool


@pytest.fixture
def picture() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").save(out, "PNG")
    return out.getvalue()


def answers(asked: list[Future[httpx.Response]], count: int) -> list[httpx.Response]:
    """Return the first `count` answers, in the order in which they came."""
    return [one.result() for one in islice(as_completed(asked, timeout=30), count)]


def test_tests_of_a_hanging_receiver_stop_nobody(callers: Callers, client: Any, threads: ThreadPoolExecutor) -> None:
    """
    When sixty tests of a hanging receiver come at once, four of them wait and the others are answered 429. Another
    tenant is served.
    """
    api, other = callers("acme"), callers("globex")
    with RawServer(lambda server, connection: server.hold(connection)) as receiver:
        made = api.post("/v1/receivers", {"url": receiver.url("/hook")}).json()
        asked = [threads.submit(api.post, f"/v1/receivers/{made['id']}/test") for _ in range(SHARED_THREADS + 20)]
        refused = answers(asked, len(asked) - TESTS_PER_TENANT)
        for one in refused:
            problem(one, "too-many-at-once", 429)
            assert one.headers["retry-after"] == "15"
        assert eventually(lambda: receiver.holding == TESTS_PER_TENANT)
        assert other.get("/v1/edits").status_code == 200
        mine = other.post("/v1/receivers", {"url": receiver.url("/other")}).json()
        own = threads.submit(other.post, f"/v1/receivers/{mine['id']}/test")
        assert eventually(lambda: receiver.holding == TESTS_PER_TENANT + 1)
        assert sum(not one.done() for one in asked) == TESTS_PER_TENANT
    assert own.result(20).json()["accepted"] is False


def test_an_image_store_that_hangs_stops_images_alone(
    callers: Callers, worker_environment: dict[str, str], client: Any, threads: ThreadPoolExecutor
) -> None:
    """While sixty reads of an image wait for the store, jobs are listed and another tenant's image is read."""
    folder = Path(urlsplit(worker_environment["RETOUCH_STORE_URL"]).path)
    stuck, other = f"aa/aa{'0' * 62}.png", f"bb/bb{'0' * 62}.png"
    for name in (stuck, other):
        (folder / name).parent.mkdir(exist_ok=True)
    os.mkfifo(folder / stuck)
    (folder / other).write_bytes(b"an image")
    staff, api = callers("staff", "ops"), callers("globex", "ops")
    asked = [threads.submit(staff.get, f"/files/{stuck}") for _ in range(SHARED_THREADS + 20)]
    try:
        assert api.get("/v1/edits").status_code == 200
        assert api.get(f"/files/{other}").content == b"an image"
        assert not any(one.done() for one in asked)
    finally:
        release(folder / stuck, asked)
    assert {one.status_code for one in answers(asked, len(asked))} <= {200, 404}


def release(pipe: Path, asked: list[Future[httpx.Response]]) -> None:
    """
    Rename a named pipe, so that a new read finds no file. Then end each blocked read, until all requests are answered.
    """
    gone = pipe.rename(pipe.with_suffix(".gone"))

    def answered() -> bool:
        with suppress(OSError):  # nobody reads at this moment
            os.close(os.open(gone, os.O_WRONLY | os.O_NONBLOCK))
        return all(one.done() for one in asked)

    assert eventually(answered)
    gone.unlink()


def test_captures_share_one_bound_of_memory(client: Any, tmp_path: Path, picture: bytes) -> None:
    """
    When a tenant has used up its share of memory for captures, the tenant's next capture waits. A capture of another
    tenant does not wait.
    """
    settings = Settings.load(dangerous_allow_private_networks=LOOPBACK[0], capture_memory_mb=200)
    blobs = open_blobs(tmp_path.as_uri(), settings.public_url, LinkSigner(client))
    keeper = InputCapture(settings, blobs, client, decoding_limiter(), TenantLoad())

    async def capture(url: str) -> None:
        with keeper._memory.hold("acme", 100_000_000):
            waiting = asyncio.create_task(keeper.capture(url, "acme", 60.0))
            assert (await keeper.capture(url, "globex", 60.0)).blob
            assert await asyncio.to_thread(eventually, lambda: keeper._memory.waiting("acme"))
            assert not waiting.done()
        assert (await waiting).blob

    with RawServer(answering(answer(picture))) as server:
        asyncio.run(capture(server.url("/a.png")))
    keeper.close()
    client.delete(*client.keys("rt:*"))


@pytest.mark.parametrize(("length", "asked_for"), [("Content-Length: 7\r\n", 7), ("", 1_000)])
def test_room_is_asked_for_before_a_body_is_read(session: requests.Session, length: str, asked_for: int) -> None:
    """
    Before a body is read, `admit` gets the declared length, or `max_bytes` if no length is declared. If `admit`
    refuses, the download ends as a timeout.
    """
    asked: list[int] = []

    def refuse(size: int) -> bool:
        asked.append(size)
        return False

    with RawServer(answering(f"HTTP/1.1 200 OK\r\n{length}\r\n".encode())) as server:
        outcome = download(session, server.url(), timeout_s=20, max_bytes=1_000, admit=refuse)
    assert trouble(outcome) == ("timeout", True)
    assert asked == [asked_for]


def test_who_goes_away_keeps_its_turn_until_its_thread_is_free() -> None:
    """A cancelled request counts against its tenant's share of threads until the thread that works for it ends."""

    async def run() -> None:
        bulkhead, hanging = Bulkhead("test", 4, 1, 0), threading.Event()
        gone = asyncio.create_task(bulkhead.run("acme", hanging.wait, 20.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        with pytest.raises(ProblemError, match="too-many-at-once"):
            await bulkhead.run("acme", int)
        assert await bulkhead.run("globex", int) == 0
        hanging.set()
        await asyncio.wait(bulkhead._running)
        assert await bulkhead.run("acme", int) == 0
        bulkhead.close()

    asyncio.run(run())
