"""
Tests of the second process of a gateway, which answers busy tenants: no answer is lost, and it ends with the gateway.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest

from tests.gateway_process import Api, Callers, running_gateway
from tests.integration.conftest import ParsedEdit
from tests.process_watch import Spoken, alive, eventually

# A little less priority, so that the second process starts in time beside processes that use all of the CPU.
SOON_THERE = "from retouch_producer.gateway.busy_tenants import handover as h; h.NICENESS = h.STARTING_NICENESS = 1\n"
# The tenant "busy" is busy, once its key was looked up, and no other one is.
AT_ONCE = SOON_THERE + (
    "from retouch_producer.gateway.dependencies import Dependencies; "
    "Dependencies.slows_others = lambda _, tenant, is_large=False: tenant == 'busy'"
)
STARTS_SOON = SOON_THERE + "h.STARTS_AFTER_S = h._START_AGAIN_AFTER_S = 0.5"
SOON = SOON_THERE + "from retouch_producer.gateway.http import tenant_load as l; l.BUSY_S = 0.05"
# Only large requests and crowds move. A tenant that was active once stays so, however long the machine takes.
NEVER_BUSY = (
    SOON_THERE + "from retouch_producer.gateway.http import tenant_load as l; l.BUSY_S, l.MEMORY_S = 1e9, 600.0"
)


@pytest.fixture
def running(worker_environment: dict[str, str]) -> Iterator[tuple[str, Spoken]]:
    with running_gateway(worker_environment, first=AT_ONCE) as running:
        yield running


@pytest.fixture
def gateway_url(running: tuple[str, Spoken]) -> str:
    return running[0]


@pytest.fixture
def moved(callers: Callers) -> Api:
    """Return a caller of a busy tenant, after the second process has begun to answer this caller."""
    caller = callers("busy")
    assert eventually(lambda: is_moved(caller.get("/v1/edits?limit=1")))
    return caller


def is_moved(answer: httpx.Response) -> bool:
    """
    Return whether the second process gave this answer: such an answer has `Connection: close`. Fail the test if the
    status is not 200.
    """
    assert answer.status_code == 200, answer.text
    return bool(answer.headers.get("connection") == "close")


def second_process_of(running: Spoken) -> int | None:
    """Return the process id of a gateway's second process, or None if it has not started."""
    listed = subprocess.run(["pgrep", "-P", str(running.process.pid)], capture_output=True, text=True, check=False)
    return int(listed.stdout.split()[0]) if listed.stdout else None


def test_a_busy_tenant_moves_and_a_quiet_one_stays(
    worker_environment: dict[str, str], client: Any, edit_body: ParsedEdit
) -> None:
    """
    A second process of lower priority answers the requests of a busy tenant. The first process still answers those of
    another tenant.
    """
    with running_gateway(worker_environment, first=SOON) as (url, running):
        callers = Callers(url, client)
        busy, quiet = callers("busy"), callers("quiet")
        assert not is_moved(quiet.get("/v1/edits?limit=1"))

        def ask() -> bool:
            assert not is_moved(quiet.get("/v1/edits?limit=1"))
            busy.post("/v1/edits/batch", {"edits": [edit_body(prompt=f"{number}") for number in range(100)]})
            return is_moved(busy.get("/v1/edits?limit=100"))

        assert eventually(ask)
        second = second_process_of(running)
        assert second is not None
        assert os.getpriority(os.PRIO_PROCESS, second) > os.getpriority(os.PRIO_PROCESS, running.process.pid)
        assert os.getsid(second) != os.getsid(running.process.pid), "Linux may weigh sessions against each other"
        callers.close()


def test_every_kind_of_request_moves_whole(moved: Api, callers: Callers, edit_body: ParsedEdit) -> None:
    """
    The second process answers large bodies, event streams, errors and unknown routes. `/metrics` counts the answers of
    both processes.
    """
    edits = [edit_body(prompt=f"{number} " + "x" * 3_000) for number in range(200)]
    answer = moved.post("/v1/edits/batch", {"edits": edits})
    assert is_moved(answer)
    items = answer.json()["items"]
    assert (len(items), {item["status"] for item in items}) == (200, {202})
    with moved.stream(f"/v1/edits/{items[0]['id']}/events") as stream:
        assert stream.headers["connection"] == "close"
        moved.post(f"/v1/edits/{items[0]['id']}/cancel")
        assert "edit.cancelled" in "".join(stream.iter_text())
    assert moved.get("/v1/nothing").status_code == 404
    assert moved.post("/v1/edits", content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    ops = callers("staff", "ops")
    page = ops.get("/metrics").text
    assert 'retouch_http_answers_total{route="/v1/edits/batch",status="200"} 1.0' in page or eventually(
        lambda: 'route="/v1/edits/batch",status="200"} 1.0' in ops.get("/metrics").text
    ), "the answers of both processes are counted together"


def test_a_connection_may_be_used_again_and_again(moved: Api) -> None:
    """A hundred requests of a busy tenant, one after the other, are each answered by the second process."""
    assert all(is_moved(moved.get("/v1/edits?limit=1")) for _ in range(100))


def test_requests_sent_behind_each_other_are_answered_in_order(moved: Api, gateway_url: str) -> None:
    """
    When two requests come in one packet, the first answer is for the first request. The second may stay unanswered if
    the server closes the connection.
    """
    host, port = gateway_url.removeprefix("http://").split(":")
    head = f"GET {{}} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {moved.secret}\r\n{{}}\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall((head.format("/v1/edits", "") + head.format("/v1/none", "Connection: close\r\n")).encode())
        answers = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answers.startswith(b"HTTP/1.1 200")
    assert answers.count(b"HTTP/1.1") in {1, 2}, "whoever moves closes the connection behind the first answer"


def test_a_head_in_pieces_moves(moved: Api, gateway_url: str) -> None:
    """A request whose HTTP headers arrive byte by byte is answered by the second process."""
    host, port = gateway_url.removeprefix("http://").split(":")
    request = f"GET /v1/edits?limit=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {moved.secret}\r\n\r\n".encode()
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            connection.sendall(bytes([byte]))
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    assert "data" in json.loads(answer.partition(b"\r\n\r\n")[2])


def test_a_killed_second_process_costs_no_answer(moved: Api, running: tuple[str, Spoken]) -> None:
    """
    When the second process is killed, the gateway logs this, answers the busy tenant itself, and later starts a new
    second process.
    """
    second = second_process_of(running[1])
    assert second is not None
    os.kill(second, signal.SIGKILL)
    assert eventually(lambda: not alive(second))
    running[1].wait_for("second_process_ended")
    assert all(moved.get("/v1/edits?limit=1").status_code == 200 for _ in range(20))
    assert eventually(lambda: is_moved(moved.get("/v1/edits?limit=1")))
    assert second_process_of(running[1]) not in {None, second}


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_the_second_process_ends_with_the_gateway(
    worker_environment: dict[str, str], client: Any, end: signal.Signals
) -> None:
    """The second process ends after the gateway has ended, on SIGTERM and on SIGKILL."""
    command = ["-c", f"{AT_ONCE}\nfrom retouch_producer.gateway.server import serve\nserve()"]
    with Spoken([sys.executable, *command], environment={**worker_environment, "RETOUCH_GATEWAY_PORT": "0"}) as running:
        port = int(running.wait_for("Uvicorn running on").split("127.0.0.1:")[1].split()[0])
        callers = Callers(f"http://127.0.0.1:{port}", client)
        caller = callers("busy")
        assert eventually(lambda: is_moved(caller.get("/v1/edits?limit=1")))
        second = second_process_of(running)
        assert second is not None
        caller.close()
        os.kill(running.process.pid, end)
        running.process.wait(20)
        assert eventually(lambda: not alive(second))


def wait_for_second_process(callers: Callers, quiet: Api) -> None:
    """Send requests of an unknown tenant for long lists, and requests of `quiet`, until the second process answers."""

    def answers() -> bool:
        quiet.get("/v1/edits?limit=1")
        return is_moved(callers("unknown").get("/v1/edits?limit=1000"))

    assert eventually(answers)


def test_the_first_large_requests_of_a_caller_move(
    worker_environment: dict[str, str], client: Any, edit_body: ParsedEdit
) -> None:
    """
    Large requests go to the second process while another tenant is present: all those of an unknown caller, and those
    of a known, quiet caller except for the first one.
    """
    with running_gateway(worker_environment, first=NEVER_BUSY) as (url, _):
        callers = Callers(url, client)
        quiet = callers("quiet")
        batch = {"edits": [edit_body(prompt=f"{number} " + "x" * 3_000) for number in range(50)]}
        assert not is_moved(quiet.post("/v1/edits/batch", batch))
        assert not is_moved(quiet.get("/v1/edits?limit=1000"))
        wait_for_second_process(callers, quiet)
        assert eventually(lambda: is_moved(callers("unknown").post("/v1/edits/batch", batch)))
        assert not is_moved(callers("small").get("/v1/edits?limit=99"))
        assert not is_moved(quiet.get("/v1/edits?limit=1000"))
        assert is_moved(quiet.get("/v1/edits?limit=1000"))
        assert not is_moved(quiet.get("/v1/edits?limit=1"))
        callers.close()


def test_the_second_process_starts_before_it_is_needed(worker_environment: dict[str, str], client: Any) -> None:
    """The gateway starts its second process by itself, and starts a new one after it was killed."""
    with running_gateway(worker_environment, first=STARTS_SOON) as (_, running):
        assert eventually(lambda: second_process_of(running))
        first = second_process_of(running)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: second_process_of(running) not in {None, first})


@pytest.mark.parametrize("kind", ["bearer", "body"])
def test_a_crowd_moves_though_its_key_was_never_seen(
    worker_environment: dict[str, str], client: Any, kind: str
) -> None:
    """When 60 requests with an unseen key come at once, the second process answers more than half of them."""
    with running_gateway(worker_environment, first=NEVER_BUSY) as (url, running):
        callers = Callers(url, client)
        quiet, crowd = callers("quiet"), callers("crowd")
        wait_for_second_process(callers, quiet)
        with ExitStack() as stack:
            # The gateway stands still: otherwise it might answer each request before a busy machine sends the next.
            running.process.send_signal(signal.SIGSTOP)
            try:
                sent = send(stack, url, 60, *request_of(crowd, kind))
            finally:
                running.process.send_signal(signal.SIGCONT)
            answers = [one.getresponse() for one in sent]
            assert {answer.status for answer in answers} == {200}
            assert sum(answer.getheader("connection") == "close" for answer in answers) > 30
        assert not is_moved(quiet.get("/v1/edits?limit=1"))
        callers.close()


def request_of(crowd: Api, kind: str) -> tuple[str, str, str, dict[str, str]]:
    """
    Return method, path, body and headers of a request. The key of `crowd` is in a header if `kind` is `bearer`, else in
    the body.
    """
    if kind == "bearer":
        return "GET", "/v1/edits?limit=1", "", {"Authorization": f"Bearer {crowd.secret}"}
    return "POST", "/api/v3/fetch/ed_none", json.dumps({"key": crowd.secret}), {"Content-Type": "application/json"}


def send(
    stack: ExitStack, url: str, count: int, method: str, path: str, body: str, headers: dict[str, str]
) -> list[HTTPConnection]:
    """
    Send a request on each of `count` new connections, without waiting for answers. The stack closes the connections.
    """
    address = url.removeprefix("http://")
    sent = [stack.enter_context(closing(HTTPConnection(address, timeout=90))) for _ in range(count)]
    for one in sent:
        one.request(method, path, body, headers)
    return sent


def test_connections_wait_for_a_slow_second_process(moved: Api, running: tuple[str, Spoken], callers: Callers) -> None:
    """
    While the second process stands still, requests of busy tenants wait, and other tenants are served. Later every
    request is answered.
    """
    second = second_process_of(running[1])
    assert second is not None
    os.kill(second, signal.SIGSTOP)
    with ExitStack() as stack:
        try:
            sent = send(stack, running[0], 600, *request_of(moved, "bearer"))
            assert callers("quiet").get("/v1/edits?limit=1").status_code == 200
        finally:
            os.kill(second, signal.SIGCONT)
        assert {one.getresponse().status for one in sent} == {200}


def test_a_frozen_second_process_costs_seconds(moved: Api, running: tuple[str, Spoken]) -> None:
    """When the second process reports nothing for three seconds, the first process answers the busy tenants."""
    second = second_process_of(running[1])
    assert second is not None
    os.kill(second, signal.SIGSTOP)
    try:
        # What was handed over before waits in the frozen process, so each attempt has a time of its own.
        assert eventually(lambda: stays(moved))
    finally:
        os.kill(second, signal.SIGCONT)


def stays(caller: Api) -> bool:
    """Return whether the first process answers this caller within two seconds."""
    try:
        return not is_moved(caller.get("/v1/edits?limit=1", timeout=2.0))
    except httpx.TimeoutException:
        return False
