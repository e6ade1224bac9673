"""Tests of deadlines with real servers: wherever a server stalls, the call ends in time, and other calls go on."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from retouch.egress.deadline import Deadline
from retouch.egress.http import Answer, Trouble, send
from tests.integration.faulty_servers import (
    CHUNKED,
    RawServer,
    Script,
    answer,
    cut,
    got,
    post,
    then_hold,
    trouble,
)
from tests.process_watch import eventually


@pytest.mark.parametrize(
    ("stage", "script"),
    [
        ("silence", then_hold()),
        ("half a status line", then_hold(b"HTTP/1.1 2")),
        ("half the headers", then_hold(b"HTTP/1.1 200 OK\r\nContent-Len")),
        ("half a body", then_hold(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")),
        ("half a chunk", then_hold(CHUNKED + b"5\r\nhal")),
        ("no end", then_hold(b"HTTP/1.1 200 OK\r\n\r\nand on")),
        ("a status line in drips", then_hold(b"HTTP/1.1 200 ", drip=b"O")),
        ("a header in drips", then_hold(b"HTTP/1.1 200 OK\r\nX: ", drip=b"y")),
        ("a body in drips", then_hold(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", drip=b"z")),
        ("a chunk in drips", then_hold(CHUNKED + b"999\r\n", drip=b"z")),
        ("a size in drips", then_hold(CHUNKED, drip=b"0")),
        ("chunks in drips", then_hold(CHUNKED, drip=b"1\r\nz\r\n")),
    ],
)
def test_the_total_deadline_bounds_every_phase(session: requests.Session, stage: str, script: Script) -> None:
    """Wherever the server stalls or drips, the call ends as a timeout while the server still holds the connection."""
    with RawServer(script) as server:
        outcome = cut(lambda timeout_s: post(session, server.url(), timeout_s=timeout_s))
        assert trouble(outcome) == ("timeout", True), stage
        assert eventually(lambda: server.holding == 1)
        assert len(server.requests) == 1


def upload(session: requests.Session, server: RawServer, timeout_s: float) -> Answer | Trouble:
    """POST 30 MB, which is more than the buffers of both sockets hold."""
    return send(session, "POST", server.url(), data=bytes(30_000_000), timeout_s=timeout_s, max_bytes=10)


def test_the_total_deadline_bounds_sending(session: requests.Session) -> None:
    """A large request to a server that never reads ends as a timeout at the deadline."""
    with RawServer(lambda server, connection: server.hold(connection)) as server:
        outcome = cut(lambda timeout_s: upload(session, server, timeout_s))
        assert trouble(outcome) == ("timeout", True)
        assert eventually(lambda: server.holding == server.accepted)


def test_a_sockets_own_timeout_is_one_too(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the timeout of the socket ends a call before the deadline does, the trouble is `timeout`."""
    monkeypatch.setattr(Deadline, "watch", lambda *_: None)
    with RawServer(lambda server, connection: server.hold(connection)) as server:
        assert trouble(cut(lambda timeout_s: upload(session, server, timeout_s))) == ("timeout", True)
        reading = cut(lambda timeout_s: post(session, server.url(), timeout_s=timeout_s))
        assert trouble(reading) == ("timeout", True)


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


def test_deadlines_cut_their_own_calls_alone(session: requests.Session) -> None:
    """
    When every fourth of many concurrent calls hangs, only these calls end as timeouts. All other calls are answered.
    """
    held: set[bytes] = set()

    def script(server: RawServer, connection: socket.socket) -> None:
        while request := server.read_request(connection):
            path = request.split(b" ")[1]
            if path.startswith(b"/hang"):
                held.add(path)
                server.hold(connection)
            connection.sendall(answer(path))

    def ask(number: int) -> bool:
        if number % 4 == 0:
            outcome = cut(lambda timeout_s: post(session, server.url(f"/hang/{number}"), timeout_s=timeout_s))
            return trouble(outcome) == ("timeout", True)
        return got(post(session, server.url(f"/{number}"), timeout_s=60)).body == f"/{number}".encode()

    with RawServer(script) as server, ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(160)))
        assert eventually(lambda: len(held) == server.holding == 40)


def test_a_forked_process_has_deadlines_too() -> None:
    """A forked child, which inherits a used session but no threads, still ends its calls in time."""
    code = """
import os, sys
from retouch.egress.http import make_session, send
session = make_session(None, 4)
def ask():  # once more with a longer limit, if a busy machine did not even connect in time
    kinds = (send(session, "GET", sys.argv[1], timeout_s=limit_s, max_bytes=9).kind for limit_s in (0.2, 1, 5, 20))
    return next(kind for kind in kinds if kind != "not_connected")
assert ask() == "timeout"
if (child := os.fork()) == 0:
    os._exit(0 if ask() == "timeout" else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    with RawServer(then_hold()) as server:
        child = subprocess.run([sys.executable, "-c", code, server.url()], timeout=60, check=False)
        assert child.returncode == 0
        assert eventually(lambda: server.holding == 2)
