"""A real gateway process on the Valkey of the tests, and HTTP clients with API keys."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from retouch.store.tenants import TenantStore
from tests.process_watch import Spoken

LINK_KEY = "00" * 32
"""Fixed, since gateways and workers that outlive a test remember it while the database is emptied."""


@dataclass
class Api:
    """An HTTP client with one API key, or without a key if `secret` is empty."""

    url: str
    secret: str
    _client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._client.request(method, path, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.ask("GET", path, **options)

    def post(
        self, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, content: Any = None
    ) -> httpx.Response:
        """
        POST `body` as JSON, or POST `content` unchanged if `body` is None.

        The JSON is ASCII, so that a test can send half of a surrogate pair.
        """
        named = {"Content-Type": "application/json"} if body is not None else {}
        data = content if body is None else json.dumps(body).encode()
        return self.ask("POST", path, content=data, headers={**named, **(headers or {})})

    def stream(self, path: str, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.stream("GET", path, headers=named)

    def close(self) -> None:
        self._client.close()


@contextmanager
def running_gateway(
    environment: Mapping[str, str], module: str = "retouch_producer.gateway", *, port: int = 0, first: str = ""
) -> Iterator[tuple[str, Spoken]]:
    """
    Context manager that runs a gateway process, and yields (URL, process).

    If `port` is 0, the gateway takes a free port. `first` is Python code that runs before the gateway.
    """
    command = [
        sys.executable,
        "-c",
        f"{first}\nfrom runpy import run_module\nrun_module({module!r}, run_name='__main__')",
    ]
    with Spoken(command, environment={**environment, "RETOUCH_GATEWAY_PORT": str(port)}) as running:
        port = int(running.wait_for("Uvicorn running on").split("127.0.0.1:")[1].split()[0])
        yield f"http://127.0.0.1:{port}", running
        assert running.end() in {0, -15}


class Callers:
    """
    Creates HTTP clients of one gateway, each with its own API key. `close` cancels all open jobs and closes the
    clients.
    """

    def __init__(self, url: str, client: Any) -> None:
        self.url, self._client, self._made = url, client, list[Api]()
        client.set("rt:link_key", LINK_KEY)

    def __call__(self, tenant: str = "acme", role: str = "producer") -> Api:
        return self.with_secret(TenantStore(self._client).create_key(tenant, role, "test")[1])

    def with_secret(self, secret: str = "") -> Api:
        self._made.append(Api(self.url, secret))
        return self._made[-1]

    def close(self) -> None:
        ops = self("staff", "ops")
        for record in ops.get("/v1/edits", params={"limit": 1000}).json()["data"]:
            if not record["finished_at"]:
                ops.post(f"/v1/edits/{record['id']}/cancel")
        for one in self._made:
            one.close()


def path_of(link: str) -> str:
    """Return a link without its host, since RETOUCH_PUBLIC_URL of the tests is not the gateway's address."""
    return "/" + link.split("/", 3)[3]


def problem(answer: httpx.Response, name: str, status: int) -> dict[str, Any]:
    """Check that an answer is a problem of this type and status, and return its members."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    members: dict[str, Any] = json.loads(answer.text)
    assert members["type"] == f"/problems/{name}"
    assert members["status"] == status
    assert {"title", "detail", "retryable", "charged", "faults"} <= members.keys()
    return members
