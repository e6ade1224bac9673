"""Tests of the guarded session on real servers: one lookup of a name, a check of each redirect and address, and TLS."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import requests

from retouch.egress import http
from retouch.egress.http import download, make_session, send
from tests.integration.faulty_servers import (
    LOOPBACK,
    RawServer,
    answer,
    answering,
    certificate,
    cut,
    got,
    post,
    then_hold,
    trouble,
)
from tests.process_watch import eventually


def test_downloads_follow_three_redirects(session: requests.Session) -> None:
    """A download follows three redirects, relative or absolute. A fourth redirect ends it with `bad_answer`."""
    hops = {b"/a": "/b", b"/b": "c", b"/c": "/d", b"/long": "/a"}

    def script(server: RawServer, connection: socket.socket) -> None:
        while request := server.read_request(connection):
            to = hops.get(request.split(b" ")[1])
            connection.sendall(answer(b"", "307 Go", Location=to) if to else answer(b"picture"))

    with RawServer(script) as server:
        assert got(download(session, server.url("/a"), timeout_s=20, max_bytes=99)).body == b"picture"
        assert trouble(download(session, server.url("/long"), timeout_s=20, max_bytes=99)) == ("bad_answer", True)


@pytest.mark.parametrize(
    "to",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "file:///etc/passwd",
        "http://[::ffff:a00:1]/",
        "//10.0.0.1/x",
        "http://user:pw@1.1.1.1/",
        "http://0x7f.1/",
        "http://[::1/x",
    ],
)
def test_downloads_vet_every_hop(session: requests.Session, to: str) -> None:
    """
    A redirect to a private address, or to a URL that is not allowed, ends the download with `refused_address`. No
    connection is made.
    """
    with RawServer(answering(answer(b"", "302 Found", Location=to))) as server:
        assert trouble(download(session, server.url(), timeout_s=20, max_bytes=99)) == ("refused_address", False)


def test_what_nobody_foresaw_is_trouble_too(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error, before or after sending, is returned as a `Trouble` and not raised."""
    with RawServer(answering(answer())) as server, monkeypatch.context() as patch:
        patch.setattr(http, "_check_head", lambda *_: 1 / 0)
        assert trouble(post(session, server.url())) == ("bad_answer", True)
        patch.setattr(http, "_exchange", lambda *_: 1 / 0)
        assert trouble(post(session, server.url())) == ("not_connected", False)


def test_the_deadline_of_a_download_covers_all_hops(session: requests.Session) -> None:
    """If the body of a redirect comes byte by byte, the whole download ends as a timeout at its deadline."""
    head = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 9999\r\n\r\n"
    with RawServer(then_hold(head, drip=b".")) as server:
        outcome = cut(lambda timeout_s: download(session, server.url(), timeout_s=timeout_s, max_bytes=99_999))
        assert trouble(outcome) == ("timeout", True)
        assert eventually(lambda: server.holding == 1)


def test_one_lookup_and_the_vetted_answer_is_used(session: requests.Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A name is looked up only once, so that a second lookup cannot lead to a private address. The header Host has the
    name.
    """
    asked: list[str] = []

    def rebind(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "10.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with RawServer(answering(answer())) as server:
        monkeypatch.setattr(socket, "getaddrinfo", rebind)
        got(post(session, server.url(host="rebind.example")))
        assert asked == ["rebind.example"]
        assert b"Host: rebind.example:" in server.requests[0]


def test_a_name_that_resolves_privately_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with a private address is refused on connecting, and the server gets nothing."""

    def private(_host: str, _port: int, **_: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

    with RawServer(answering(answer())) as server, make_session((), 4) as session:
        monkeypatch.setattr(socket, "getaddrinfo", private)
        outcome = send(session, "GET", "http://innocent.example/", timeout_s=20, max_bytes=99)
        assert trouble(outcome) == ("refused_address", False)
        assert server.accepted == 0


def test_operators_addresses_are_not_guarded() -> None:
    """A session with `networks=None` reaches any address that the operator configured."""
    with RawServer(answering(answer())) as server, make_session(None, 4) as session:
        assert got(post(session, server.url(host="localhost"))).status == 200


def test_tls_with_a_known_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With a trusted certificate, three requests are answered over one connection. A body that comes byte by byte ends at
    the deadline.
    """
    context, ca_file = certificate(tmp_path, "127.0.0.1")
    with make_session(LOOPBACK, 4, ca_file) as session:
        with RawServer(answering(answer(b"safe")), context) as server:
            assert [got(post(session, server.url())).body for _ in range(3)] == [b"safe"] * 3
            assert server.accepted == 1
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
        with RawServer(then_hold(head, drip=b"z"), context) as server:
            outcome = cut(lambda timeout_s: post(session, server.url(), timeout_s=timeout_s))
            assert trouble(outcome) == ("timeout", True)
            assert eventually(lambda: server.holding == 1)


@pytest.mark.parametrize(("made_for", "trusted"), [("127.0.0.1", False), ("other.example", True)])
def test_tls_with_a_wrong_certificate(tmp_path: Path, made_for: str, trusted: bool) -> None:
    """
    If the signer of a certificate is unknown, or the certificate is for another name, nothing is sent. The outcome does
    not contain the host.
    """
    context, ca_file = certificate(tmp_path, made_for)
    with make_session(LOOPBACK, 4, *([ca_file] if trusted else [])) as session:
        with RawServer(answering(answer()), context) as server:
            outcome = post(session, server.url())
        assert trouble(outcome) == ("not_connected", False)
        assert "CERTIFICATE_VERIFY_FAILED" in repr(outcome)
        assert "127.0.0.1" not in repr(outcome)
        assert server.requests == []


@pytest.mark.parametrize("drip", [b"", b"\x16\x03\x03\x3f\xff" + b"\2\0\x3f\xfb"])
def test_a_tls_handshake_that_hangs_or_drips(tmp_path: Path, drip: bytes) -> None:
    """A handshake that stalls or comes byte by byte ends at the connect timeout, and nothing was sent."""
    _, ca_file = certificate(tmp_path, "127.0.0.1")
    holding = RawServer(lambda server, connection: server.hold(connection, drip))
    with make_session(LOOPBACK, 4, ca_file) as session, holding as server:
        url = server.url().replace("http:", "https:")
        outcome = send(session, "POST", url, timeout_s=60, max_bytes=9, connect_timeout_s=0.3)
        assert trouble(outcome) == ("not_connected", False)
        assert eventually(lambda: server.holding == 1)
