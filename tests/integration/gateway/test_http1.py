"""
Tests of the gateway's HTTP/1.1 with raw bytes: offers to upgrade are ignored, and a body is never read as a request.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.gateway_process import Api, Callers, running_gateway
from tests.process_watch import Spoken

LAST = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
JDK = (
    "POST /v1/edits HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: {length}\r\nHost: {host}\r\n"
    "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nUpgrade: h2c\r\n"
    "User-Agent: Java-http-client/17.0.15\r\nAuthorization: Bearer {secret}\r\nContent-Type: application/json\r\n\r\n"
)
CURL = (
    "POST /v1/edits HTTP/1.1\r\nHost: {host}\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n"
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    "Authorization: Bearer {secret}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)
GO = (
    "POST /v1/edits HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: {length}\r\n"
    "Authorization: Bearer {secret}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
)
DOTNET = (
    "POST /v1/edits HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {secret}\r\nTransfer-Encoding: chunked\r\n"
    "Content-Type: application/json; charset=utf-8\r\n\r\n"
)
WEBSOCKET = (
    "POST /v1/edits HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {secret}\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)
Exchange = Callable[..., list[int]]
ParsedEdit = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def running(worker_environment: dict[str, str]) -> Iterator[tuple[str, Spoken]]:
    with running_gateway(worker_environment) as running:
        yield running


@pytest.fixture(scope="module")
def gateway_url(running: tuple[str, Spoken]) -> str:
    return running[0]


@pytest.fixture
def exchange(gateway_url: str) -> Exchange:
    """
    Return a function that sends pieces of bytes on one connection, and reads until the gateway closes the connection.

    The function returns the status of each answer. If the connection is reset without an answer, it returns 400.
    """
    host, port = gateway_url.removeprefix("http://").split(":")

    def send(*pieces: bytes) -> list[int]:
        with socket.create_connection((host, int(port)), 20) as connection, connection.makefile("rb") as reading:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            came = b""
            try:
                for piece in pieces:
                    connection.sendall(piece)
                came = reading.read()
            except ConnectionError:
                came = came or b"HTTP/1.1 400 reset\r\n"
            return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", came)]

    return send


@pytest.fixture
def api(callers: Callers) -> Api:
    return callers()


def chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def jobs_of(client: Any) -> int:
    return len(client.keys("rt:edits:spec:*"))


@pytest.mark.parametrize("habit", [JDK, CURL, GO, DOTNET, WEBSOCKET], ids=["jdk", "curl", "go", "dotnet", "websocket"])
@pytest.mark.parametrize("cut", ["whole", "head and body", "in the head", "byte by byte"])
def test_habits_of_clients(
    habit: str, cut: str, api: Api, exchange: Exchange, edit_body: ParsedEdit, client: Any
) -> None:
    """
    A request in the form of JDK, curl, Go, .NET or a WebSocket client makes one job, and the connection stays usable.
    """
    body = json.dumps(edit_body()).encode()
    head = habit.format(host=api.url[7:], secret=api.secret, length=len(body)).encode()
    sent = chunked(body) if habit is DOTNET else body
    pieces: Sequence[bytes] = {
        "whole": [head + sent],
        "head and body": [head, sent],
        "in the head": [head[:60], head[60:] + sent[:9], sent[9:]],
        "byte by byte": [(head + sent)[n : n + 1] for n in range(len(head + sent))],
    }[cut]
    assert exchange(*pieces, LAST) == [202, 200]
    assert jobs_of(client) == 1


def test_offers_in_one_stream(api: Api, exchange: Exchange, edit_body: ParsedEdit, client: Any) -> None:
    """Pipelined requests with offers to upgrade are answered one by one, in order."""
    body = json.dumps(edit_body()).encode()
    offer, plain = (
        (habit.format(host="x", secret=api.secret, length=len(body)).encode() + body) for habit in (JDK, GO)
    )
    look = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert exchange(look + offer + plain + look * 3 + offer + LAST) == [200, 202, 202, 200, 200, 200, 202, 200]
    assert jobs_of(client) == 3


def smuggled(api: Api, edit_body: ParsedEdit) -> bytes:
    """Return the bytes of a valid request. If the gateway reads these bytes as a request, a job is enqueued."""
    body = json.dumps(edit_body()).encode()
    return GO.format(host="x", secret=api.secret, length=len(body)).encode() + body


FRAMINGS = {
    "length and chunked": (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "chunked and length": (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "lengths that differ": (b"Content-Length: 0\r\nContent-Length: 5\r\n", b""),
    "list of lengths": (b"Content-Length: 0, 0\r\n", b""),
    "signed length": (b"Content-Length: +0\r\n", b""),
    "negative length": (b"Content-Length: -1\r\n", b""),
    "hexadecimal length": (b"Content-Length: 0x0\r\n", b""),
    "folded length": (b"Content-Length:\r\n 0\r\n", b""),
    "folded coding": (b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    "folded field": (b"X: a\r\n b\r\nContent-Length: 0\r\n", b""),
    "space before colon": (b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "vertical tab": (b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n"),
    "unknown coding": (b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n"),
    "chunked not last": (b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    "chunked twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "bad chunk size": (b"Transfer-Encoding: chunked\r\n", b"0x0\r\n\r\n"),
    "bad end of chunk": (b"Transfer-Encoding: chunked\r\n", b"1\r\naXX0\r\n\r\n"),
    "line feed in extension": (b"Transfer-Encoding: chunked\r\n", b"1;a=\nb\r\na\r\n0\r\n\r\n"),
    "length in trailer": (b"Transfer-Encoding: chunked\r\n", b"0\r\nContent-Length: 5\r\n\r\n"),
    "bare line feeds": (b"X: y\nContent-Length: 0\n\n", b""),
}


@pytest.mark.parametrize("offer", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"], ids=["plain", "offer"])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_doubtful_framing(
    framing: str, offer: bytes, api: Api, exchange: Exchange, edit_body: ParsedEdit, client: Any
) -> None:
    """A body of ambiguous length ends the connection: the bytes after it are never read as a request."""
    fields, body = FRAMINGS[framing]
    head = b"POST /v1/edits HTTP/1.1\r\nHost: x\r\n" + offer + fields + b"\r\n"
    assert 202 not in exchange(head + body + smuggled(api, edit_body))
    assert jobs_of(client) == 0


POST_1_0 = b"POST /v1/edits HTTP/1.0\r\nTransfer-Encoding: chunked\r\n"
CONNECT = b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "head",
    [
        POST_1_0 + b"Connection: keep-alive\r\n\r\n",
        POST_1_0 + b"Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n\r\n",
        CONNECT + b"\r\n",
        CONNECT + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    ],
)
def test_no_tunnel_and_no_chunks_of_old(
    head: bytes, api: Api, exchange: Exchange, edit_body: ParsedEdit, client: Any
) -> None:
    """CONNECT, and chunks in HTTP/1.0, are refused: the bytes after them are never read as a request."""
    assert exchange(head + smuggled(api, edit_body)) == [400]
    assert jobs_of(client) == 0


@pytest.mark.parametrize("habit", [JDK, GO], ids=["offer", "plain"])
def test_a_body_that_is_a_request(habit: str, api: Api, exchange: Exchange, edit_body: ParsedEdit, client: Any) -> None:
    """A body that looks like a request is refused as invalid JSON, and is not read as a request."""
    body = smuggled(api, edit_body)
    head = habit.format(host="x", secret=api.secret, length=len(body)).encode()
    assert exchange(head, body, LAST) == [400, 200]
    assert jobs_of(client) == 0


@pytest.mark.parametrize("habit", [JDK, GO], ids=["offer", "plain"])
def test_junk_behind_a_request(habit: str, api: Api, exchange: Exchange, edit_body: ParsedEdit, client: Any) -> None:
    """If invalid bytes follow a whole request, the request is still answered 202, and the connection ends."""
    body = json.dumps(edit_body()).encode()
    head = habit.format(host="x", secret=api.secret, length=len(body)).encode()
    assert exchange(head + body + b"\x00junk\r\n\r\n") == [202]
    assert jobs_of(client) == 1


def test_a_head_without_end(exchange: Exchange, running: tuple[str, Spoken]) -> None:
    """A head of more than 64 KiB is refused, whether it has one long value or many fields."""
    start = b"GET / HTTP/1.1\r\nHost: x\r\n"
    assert exchange(start + b"X: ", *[b"a" * 8_000] * 40) == [400]
    assert exchange(start, *[b"X: y\r\n" * 1_000] * 40) == [400]


def test_thousands_of_offers_in_one_piece(exchange: Exchange, running: tuple[str, Spoken]) -> None:
    """Three thousand offers to upgrade in one piece are answered without a traceback."""
    look = b"GET /healthz HTTP/1.1\r\nHost:x\r\nConnection:Upgrade\r\nUpgrade:h\r\n\r\n"
    assert exchange(look * 3_000 + LAST) == [200] * 3_001
    assert "Traceback" not in "\n".join(running[1].lines)


def test_halves_of_surrogate_pairs(
    api: Api, callers: Callers, edit_body: ParsedEdit, client: Any, running: tuple[str, Spoken]
) -> None:
    """
    A request with half of a surrogate pair in a name, value, tag or key is refused. No job is made, and no error is
    logged.
    """
    half = "\ud800"
    odd: list[dict[str, Any]] = [
        {half: 1},
        {"tags": {half: "x"}},
        {"tags": {"x": half}},
        {"extra": {"a": [{half: 1}]}},
        {"prompt": half},
    ]
    odd.append({"idempotency_key": half})
    stranger = callers.with_secret()
    answers = [api.post("/v1/edits", edit_body(**fields)) for fields in odd]
    answers += [api.post("/v1/edits/batch", {"edits": [edit_body(), edit_body(**fields)]}) for fields in odd]
    answers += [api.post("/v1/receivers", {"url": "https://example.com/", half: 1})]
    assert {(answer.status_code, answer.json()["type"]) for answer in answers} == {(400, "/problems/malformed-body")}
    for path in ("/api/v5/pix2pix", "/api/v3/fetch/x"):
        assert stranger.post(path, {"key": half}).json()["status"] == "error"
        assert stranger.post(path, {"key": "rtk_x", half: half}).json()["status"] == "error"
    assert jobs_of(client) == 0
    assert not [line for line in running[1].lines if "Traceback" in line or "request_failed" in line]
