"""Connections that are kept and used again: by which calls, for how long, and what a call on a dead one costs."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from retouch.egress import guarded_session
from retouch.egress.http import Answer, send
from tests.integration.faulty_servers import RawServer, answer, answering, got, post, then_close, trouble


@pytest.fixture(autouse=True)
def _connections_are_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a connection be used again after more than a second, which a busy machine needs between two calls."""
    monkeypatch.setattr(guarded_session, "REUSE_WITHIN_S", 60.0)


def test_connections_are_kept_and_shared_by_threads(session: requests.Session) -> None:
    """Threads that share a session get the answers to their own requests, and connections are reused."""

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


def test_a_past_deadline_does_not_cut_the_next_call(session: requests.Session) -> None:
    """The deadline of a finished call does not affect the next call on the same connection."""
    for limit_s in (0.3, 1.2, 5.0, 20.0):

        def slow_second(server: RawServer, connection: socket.socket, limit_s: float = limit_s) -> None:
            server.read_request(connection)
            connection.sendall(answer(b"first"))
            server.read_request(connection)
            server.closing.wait(limit_s + 0.1)
            connection.sendall(answer(b"second"))
            server.hold(connection)

        with RawServer(slow_second) as server:
            first = post(session, server.url(), timeout_s=limit_s)
            if isinstance(first, Answer):
                assert first.body == b"first"
                assert got(post(session, server.url(), timeout_s=60)).body == b"second"
                assert server.accepted == 1
                return
    pytest.fail("no call ended in time")
