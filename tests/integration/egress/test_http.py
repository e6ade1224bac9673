"""Requests to real servers that misbehave: every request ends in time, is sent once, and returns a value."""

from __future__ import annotations

import json
import logging
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from retouch.egress import guarded_session
from retouch.egress.http import send
from tests.integration.faulty_servers import (
    CHUNKED,
    RawServer,
    Script,
    answer,
    answering,
    full_backlog,
    got,
    post,
    reset,
    then_close,
    then_hold,
    then_reset,
    trouble,
)


def test_an_answer_is_a_value(session: requests.Session) -> None:
    """An `Answer` has status, headers in any letter case, and body. The request was sent once and unchanged."""
    with RawServer(answering(answer(b'{"x":1}', "202 Accepted", X_Thing="7"))) as server:
        outcome = got(send(session, "POST", server.url("/a?b=ü"), json={"é": 1}, timeout_s=20, max_bytes=100))
    assert (outcome.status, outcome.headers["x-thing"], outcome.body) == (202, "7", b'{"x":1}')
    head, body = server.requests[0].split(b"\r\n\r\n")
    assert json.loads(body) == {"é": 1}
    assert head.startswith(b"POST /a?b=%C3%BC HTTP/1.1\r\n")
    assert {b"Accept-Encoding: identity", b"Content-Type: application/json"} <= set(head.split(b"\r\n"))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (then_close(), "reset"),
        (then_reset(), "reset"),
        (then_reset(b"HTTP/1.1 200 OK\r\n"), "reset"),
        (then_reset(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "reset"),
        (then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), "reset"),
        (then_close(CHUNKED + b"5\r\nhal"), "reset"),
        (then_close(CHUNKED + b"0"), "reset"),
        (then_close(b"SSH-2.0-OpenSSH_9.2\r\n"), "bad_answer"),
        (then_close(b"HTTP/1.1 banana\r\n\r\n"), "bad_answer"),
        (then_close(b"HTTP/1.1 200 " + b"O" * 70_000), "bad_answer"),
        (then_hold(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200), "bad_answer"),
        (then_hold(drip=b"HTTP/1.1 100 Continue\r\n\r\n"), "bad_answer"),
        (then_hold(CHUNKED + b"0\r\n", drip=b"A: b\r\n"), "bad_answer"),
        (then_hold(CHUNKED + b"-1\r\n", drip=bytes(4096)), "bad_answer"),
        (then_close(CHUNKED + b"-5\r\nhello"), "bad_answer"),
        (answering(answer(status="103 Early Hints")), "bad_answer"),
        (answering(answer(b"\x1f\x8b", Content_Encoding="gzip")), "bad_answer"),
        (answering(answer(b"x" * 10_001)), "too_large"),
        (then_close(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_001), "too_large"),
        (then_hold(CHUNKED, drip=b"1000\r\n" + b"x" * 4096 + b"\r\n"), "too_large"),
    ],
)
def test_every_failure_after_sending_says_so(session: requests.Session, script: Script, kind: str) -> None:
    """
    An answer that breaks off, is malformed or is too large leads to a `Trouble` of the right kind. The request counts
    as sent and is not repeated.
    """
    with RawServer(script) as server:
        assert trouble(post(session, server.url())) == (kind, True)
        assert server.accepted == 1
        assert len(server.requests) <= 1


def until_reset(connection: socket.socket) -> None:
    """Wait until the peer has reset the connection. The next call on the socket then raises the error of the reset."""
    poll = select.poll()
    poll.register(connection, 0)
    assert poll.poll(20_000)


def test_a_reset_before_the_connection_stands(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the peer resets the connection before `connect` returns, the kind is `not_connected`: nothing was sent."""
    connect = socket.socket.connect

    def slowly(connection: socket.socket, address: Any) -> None:
        connection.setblocking(False)
        connection.connect_ex(address)
        until_reset(connection)
        connect(connection, address)

    monkeypatch.setattr(socket.socket, "connect", slowly)
    with RawServer(lambda _server, connection: reset(connection)) as server:
        assert trouble(post(session, server.url())) == ("not_connected", False)
        assert server.requests == []


def test_a_reset_before_the_first_byte(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the peer resets an open connection before our first byte, the request counts as sent."""
    connect, connected = socket.socket.connect, threading.Event()

    def then_wait(connection: socket.socket, address: Any) -> None:
        connect(connection, address)
        connected.set()
        until_reset(connection)

    def script(_server: RawServer, connection: socket.socket) -> None:
        assert connected.wait(20)
        reset(connection)

    monkeypatch.setattr(socket.socket, "connect", then_wait)
    with RawServer(script) as server:
        assert trouble(post(session, server.url())) == ("reset", True)
        assert server.requests == []


def test_a_body_of_exactly_the_limit_passes(session: requests.Session) -> None:
    """A body of exactly `max_bytes` is accepted, with a declared length or in chunks."""
    chunked = CHUNKED + b"5\r\n12345\r\n5\r\n67890\r\n0\r\n\r\n"
    with RawServer(answering(answer(b"1234567890"))) as one, RawServer(answering(chunked)) as two:
        assert got(post(session, one.url(), max_bytes=10)).body == b"1234567890"
        assert got(post(session, two.url(), max_bytes=10)).body == b"1234567890"


def test_a_long_body_can_be_cut_instead_of_refused(session: requests.Session) -> None:
    """With `truncate`, an answer has the first `max_bytes` of a long body, and `truncated` is True."""
    with RawServer(answering(answer(b"x" * 100_000))) as server:
        outcome = got(send(session, "POST", server.url(), timeout_s=20, max_bytes=10, truncate=True))
    assert (outcome.body, outcome.truncated) == (b"x" * 10, True)


def test_nothing_listens(session: requests.Session) -> None:
    """If nothing listens at the address, the kind is `not_connected`: nothing was sent."""
    with RawServer(answering(answer())) as server:
        url = server.url()
    assert trouble(post(session, url)) == ("not_connected", False)


def test_connecting_hangs(session: requests.Session) -> None:
    """If a host neither accepts nor refuses, the call ends at the connect timeout, and nothing was sent."""
    with full_backlog() as port:
        url = f"http://127.0.0.1:{port}/"
        outcome = send(session, "POST", url, timeout_s=60, max_bytes=10, connect_timeout_s=0.2)
    assert trouble(outcome) == ("not_connected", False)


def test_a_name_server_that_hangs(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a lookup does not return, the call ends at the connect timeout, and nothing was sent."""
    asked, released = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> None:
        asked.set()
        released.wait(60)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    outcome = send(session, "GET", "http://slow.example/", timeout_s=60, max_bytes=10, connect_timeout_s=0.2)
    assert asked.is_set()
    assert not released.is_set()
    released.set()
    assert trouble(outcome) == ("not_connected", False)


def test_a_name_that_does_not_exist(session: requests.Session) -> None:
    """If a name does not resolve, nothing was sent, and the detail does not contain the name."""
    outcome = post(session, "http://no-such-name.invalid/")
    assert trouble(outcome) == ("not_connected", False)
    assert "no-such-name" not in repr(outcome)


def test_connections_are_kept_and_shared_by_threads(session: requests.Session) -> None:
    """When threads share a session, each thread gets the answers to its own requests. Connections are reused."""

    def echo(server: RawServer, connection: socket.socket) -> None:
        while request := server.read_request(connection):
            connection.sendall(answer(request.split(b"\r\n\r\n")[1]))

    def ask(number: int) -> bool:
        data = str(number).encode()
        return got(send(session, "POST", server.url(), data=data, timeout_s=20, max_bytes=99)).body == data

    with RawServer(echo) as server, ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(200)))
        assert server.accepted <= 16
        assert len(server.requests) == 200


def test_an_idle_connection_is_not_used_again(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was idle for too long is replaced, since the server may close it at any moment."""
    with RawServer(answering(answer())) as server:
        got(post(session, server.url()))
        got(post(session, server.url()))
        assert server.accepted == 1
        monkeypatch.setattr(guarded_session, "REUSE_WITHIN_S", -1.0)
        got(post(session, server.url()))
        assert server.accepted == 2


def test_a_kept_connection_that_was_closed_is_replaced(session: requests.Session) -> None:
    """If the server has closed an idle connection, the next request uses a new one and succeeds."""
    with RawServer(then_close(answer())) as server:
        for _ in range(5):
            got(post(session, server.url()))
            assert server.ended.acquire(timeout=20)
        assert len(server.requests) == 5


def test_a_reused_connection_that_dies_counts_as_sent(session: requests.Session) -> None:
    """If a reused connection breaks during a request, the request counts as sent and is not sent again."""

    def once(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(answer())
        server.read_request(connection)

    with RawServer(once) as server:
        got(post(session, server.url()))
        assert trouble(post(session, server.url())) == ("reset", True)
        assert server.accepted == 1


def test_no_environment_no_cookies_no_redirects(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the environment are ignored, cookies are not stored, and a redirect is an answer like any other."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    moved = answer(b"", "302 Found", Location="/elsewhere", Set_Cookie="a=b; Path=/")
    with RawServer(answering(moved)) as server:
        assert got(post(session, server.url())).status == 302
        assert got(post(session, server.url())).status == 302
    assert len(server.requests) == 2
    assert b"cookie" not in server.requests[1].lower()


def test_urls_stay_out_of_logs_and_reprs(session: requests.Session, caplog: pytest.LogCaptureFixture) -> None:
    """With every logger at DEBUG, no URL or body appears in a log line or in the repr of an outcome."""
    caplog.set_level(logging.DEBUG)
    bad_header = b"HTTP/1.1 200 OK\r\n: broken\r\nContent-Length: 2\r\n\r\nok"
    scripts = [answering(answer(b"hunter2", Location="/hunter2")), then_close(), answering(bad_header)]
    for script in scripts:
        with RawServer(script) as server:
            assert "hunter2" not in repr(post(session, server.url("/hunter2?hunter2")))
    assert "hunter2" not in caplog.text
