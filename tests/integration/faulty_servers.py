"""Real servers that misbehave on purpose: sockets that send exactly the bytes that a test gives them."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, TypeAlias

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from retouch.egress.http import Answer, Trouble, send

LOOPBACK = ("127.0.0.0/8",)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Script: TypeAlias = "Callable[[RawServer, socket.socket], None]"
"""What a server does with each connection."""


class RawServer:
    """
    A TCP server on a free port of loopback, which runs `script` in one thread for each connection.

    A script calls `hold()` to keep its connection open until the server is closed. `holding` is the number of these
    connections. Tests read `holding` to show that the client gave up first. `ended` is released once for each closed
    connection.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script, self.tls = script, tls
        self.requests: list[bytes] = []
        self.accepted = 0
        self.holding = 0
        self.ended = threading.Semaphore(0)
        self.closing = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def read_request(self, connection: socket.socket) -> bytes:
        """
        Read one whole request, record it in `requests`, and return it, or b"" if the client closed the connection.
        """
        data = b""
        while b"\r\n\r\n" not in data:
            if not (chunk := connection.recv(65_536)):
                return b""
            data += chunk
        head, body = data.split(b"\r\n\r\n", 1)
        length = next(
            (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        while len(body) < length and (chunk := connection.recv(65_536)):
            body += chunk
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def hold(self, connection: socket.socket, drip: bytes = b"") -> None:
        """Keep the connection open until the server is closed. If `drip` is given, send it every 20 ms until then."""
        self.holding += 1
        while not self.closing.wait(0.02):
            if drip:
                connection.sendall(drip)

    def close(self) -> None:
        self.closing.set()
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.accepted += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            self.script(self, connection)
        connection.close()
        self.ended.release()


def post(session: requests.Session, url: str, timeout_s: float = 20.0, max_bytes: int = 10_000) -> Answer | Trouble:
    return send(session, "POST", url, json={"a": 1}, timeout_s=timeout_s, max_bytes=max_bytes)


def cut(call: Callable[[float], Answer | Trouble]) -> Answer | Trouble:
    """
    Call `call(timeout_s)` with 0.3 s, and return the outcome.

    On a busy machine the time may be over before the request is sent. Then the call is repeated with longer times, up
    to 20 s.
    """
    for timeout_s in (0.3, 1.2, 5.0):
        outcome = call(timeout_s)
        if not (isinstance(outcome, Trouble) and outcome.kind == "not_connected"):
            return outcome
    return call(20.0)


def got(outcome: Answer | Trouble) -> Answer:
    """Return the outcome if it is an `Answer`. Fail the test if it is a `Trouble`."""
    assert isinstance(outcome, Answer), outcome
    return outcome


def trouble(outcome: Answer | Trouble) -> tuple[str, bool]:
    """
    Return the kind of a `Trouble`, and whether its request may have been sent. Fail the test if the outcome is an
    `Answer`.
    """
    assert isinstance(outcome, Trouble), outcome
    return outcome.kind, outcome.sent


def answer(body: bytes = b"ok", status: str = "200 OK", **headers: str) -> bytes:
    """
    Return the bytes of an HTTP answer with a Content-Length. A keyword such as `content_type="…"` becomes a header.
    """
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines])
    return head.encode() + b"\r\n\r\n" + body


def answering(*parts: bytes) -> Script:
    """Return a script that answers every request of a connection with the given bytes."""

    def script(server: RawServer, connection: socket.socket) -> None:
        while server.read_request(connection):
            connection.sendall(b"".join(parts))

    return script


def then_close(*parts: bytes) -> Script:
    """Return a script that answers one request with the given bytes and closes the connection."""

    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(b"".join(parts))

    return script


def then_hold(*parts: bytes, drip: bytes = b"") -> Script:
    """Return a script that answers one request with the given bytes, then holds the connection and repeats `drip`."""

    def script(server: RawServer, connection: socket.socket) -> None:
        if server.read_request(connection):
            connection.sendall(b"".join(parts))
            server.hold(connection, drip)

    return script


def then_reset(*parts: bytes) -> Script:
    """Return a script that answers one request with the given bytes and then resets the connection."""

    def script(server: RawServer, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(b"".join(parts))
        reset(connection)

    return script


def reset(connection: socket.socket) -> None:
    """Close a connection with a reset: the next call of the peer fails with ECONNRESET."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """Context manager that yields a port that neither accepts nor refuses: connecting to it hangs."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield int(listener.getsockname()[1])


def certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, str]:
    """
    Make a self-signed certificate for `host`, which is a DNS name or an IP address.

    Return the TLS context of the server, and the path of the certificate. A client that loads this file trusts the
    server.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    literal = host.replace(".", "").isdigit()
    alternative = x509.IPAddress(ipaddress.ip_address(host)) if literal else x509.DNSName(host)
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / f"{host}.pem", folder / f"{host}.key"
    cert_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key_file.write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return context, str(cert_file)
