"""Tests of the faults that only a client over HTTP can meet: refused keys, closed connections and lost answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from retouch import AsyncEditQueue, Edit, EditQueue, StoreUnavailable, Unauthorized, UnknownJob
from retouch.store.tenants import TenantStore
from retouch_ops.simulator.process import Simulator
from tests.gateway_process import LINK_KEY, running_gateway

EDIT = Edit(prompt="a planted prompt", init_image="https://example.com/in.png")


@dataclass
class Double:
    """A server in place of a gateway. Request number N, counted from 1, gets no answer if N is in `closes`."""

    url: str = ""
    closes: set[int] = field(default_factory=set)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        items = [
            {"index": at, "id": f"ed_{item['idempotency_key']}", "replayed": False, "problem": None}
            for at, item in enumerate(body["edits"])
        ]
        return {"items": items}


@pytest.fixture
def double() -> Iterator[Double]:
    stand_in = Double()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            stand_in.connections.add(self.client_address[1])
            stand_in.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if len(stand_in.bodies) in stand_in.closes:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            answer = json.dumps(stand_in.answer(stand_in.bodies[-1])).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        stand_in.url = f"http://127.0.0.1:{server.server_port}"
        yield stand_in
        server.shutdown()


def test_a_connection_is_kept(double: Double) -> None:
    """Consecutive calls use one connection."""
    with EditQueue(double.url, api_key="rtk_x") as queue:
        for _ in range(3):
            queue.enqueue(EDIT)
    assert len(double.connections) == 1


def test_a_connection_closed_meanwhile_is_not_noticed(double: Double) -> None:
    """
    If the server closed a reused connection, the call is repeated with the same idempotency key, and makes one job.
    """
    double.closes = {2}
    with EditQueue(double.url, api_key="rtk_x") as queue:
        queue.enqueue(EDIT)
        job = queue.enqueue(EDIT)
    keys = [body["edits"][0]["idempotency_key"] for body in double.bodies]
    assert keys[1] == keys[2] == job.id.removeprefix("ed_")
    assert keys[0] != keys[1]


def test_a_lost_answer_is_an_error(double: Double) -> None:
    """If a new connection ends without an answer, `enqueue` raises `StoreUnavailable` and does not repeat the call."""
    double.closes = {1, 2, 3}
    with EditQueue(double.url, api_key="rtk_planted") as queue, pytest.raises(StoreUnavailable, match="safe") as raised:
        queue.enqueue(EDIT)
    assert len(double.bodies) == 1
    assert "planted" not in str(raised.value)


def test_threads_share_a_client(double: Double) -> None:
    """Eight threads enqueue through one client over at most eight connections, and each thread gets its own answers."""
    answers: list[tuple[str, str]] = []

    def enqueue(number: int) -> None:
        for at in range(10):
            key = f"{number}-{at}"
            answers.append((key, queue.enqueue(EDIT, idempotency_key=key).id))

    with EditQueue(double.url, api_key="rtk_x") as queue:
        threads = [threading.Thread(target=enqueue, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 80
    assert all(identity == f"ed_{key}" for key, identity in answers)
    assert len(double.connections) <= 8


@pytest.fixture(scope="module")
def gateway_url(worker_environment: dict[str, str]) -> Iterator[str]:
    with running_gateway(worker_environment) as (url, _):
        yield url


@pytest.fixture
def queue_of(gateway_url: str, client: Any) -> Iterator[Callable[..., EditQueue]]:
    """
    Yield a function that opens a client with a new key of a tenant. The tenant's open jobs are cancelled at the end.
    """
    client.set("rt:link_key", LINK_KEY)
    queues: list[EditQueue] = []

    def make(tenant: str, role: str = "producer") -> EditQueue:
        _, secret = TenantStore(client).create_key(tenant, role, "test")
        queues.append(EditQueue(gateway_url, api_key=secret))
        return queues[-1]

    yield make
    for queue in queues:
        for job in queue.jobs():
            job.cancel()
        queue.close()


def test_a_key_that_is_unknown_is_refused(gateway_url: str, client: Any) -> None:
    """A wrong key raises `Unauthorized`, and the message does not contain the key."""
    with EditQueue(gateway_url, api_key="rtk_planted") as queue:
        for ask in (lambda: queue.enqueue(EDIT), queue.status, queue.events, queue.job("ed_x").record):
            with pytest.raises(Unauthorized) as raised:
                ask()
            assert "planted" not in str(raised.value)


def test_what_a_role_may_not_do_is_refused(queue_of: Callable[..., EditQueue]) -> None:
    """A key of role producer may read the lanes but not pause them; a key of role ops may do both."""
    producer, ops = queue_of("acme"), queue_of("acme", "ops")
    assert producer.status().paused is False
    with pytest.raises(Unauthorized, match="ops"):
        producer.pause()
    ops.pause()
    assert producer.status().paused is True
    ops.resume()


def test_tenants_do_not_meet(queue_of: Callable[..., EditQueue], simulator: Simulator) -> None:
    """A tenant cannot list or cancel the job of another tenant, and gets no event of that job."""
    edit = Edit(prompt="make it winter", init_image=simulator.portrait_url)
    acme, other = queue_of("acme"), queue_of("other")
    job = acme.enqueue(edit)
    assert job.record().spec.tenant == "acme"
    assert [one.id for one in acme.jobs()] == [job.id]
    assert list(other.jobs()) == []
    with pytest.raises(UnknownJob):
        other.cancel(job.id)
    assert acme.cancel(job.id) == "cancelled"
    assert [event["data"]["job_id"] for _, event in acme.events()] == [job.id]
    assert other.events() == []


def test_every_image_over_a_gateway(
    client: Any, simulator: Simulator, module_worker: object, worker_environment: dict[str, str], tmp_path: Path
) -> None:
    """Over a gateway, the result of a job with three images has all three, each with its hash and a link."""
    client.set("rt:link_key", LINK_KEY)
    _, secret = TenantStore(client).create_key("acme", "producer", "test")
    edit = Edit(prompt="make it winter", init_image=simulator.portrait_url, extra={"samples": 3})
    with running_gateway(worker_environment) as (url, _), EditQueue(gateway_url=url, api_key=secret) as far:
        result = far.enqueue(edit).result(30)
        assert len(result.results) == 3
        for one in result.results:
            assert hashlib.sha256(one.image).hexdigest() == one.sha256
            assert one.sha256 in one.url


def test_every_image_is_awaited_too(queue: EditQueue, simulator: Simulator, module_worker: object) -> None:
    """With the asyncio client, the bytes of each image are awaited, and a result has both images of a job."""
    edit = Edit(prompt="make it winter", init_image=simulator.portrait_url, extra={"samples": 2})

    async def hashes() -> list[tuple[str, str]]:
        async with AsyncEditQueue() as near:
            result = await (await near.enqueue(edit)).result(30)
            return [(hashlib.sha256(await one.image).hexdigest(), one.sha256) for one in result.results]

    found = asyncio.run(hashes())
    assert len({first for first, _ in found}) == 2
    assert all(first == second for first, second in found)
