"""
Sessions that connect only to permitted addresses: they look a name up once, vet all its addresses, and use one of them.

urllib3 opens every connection in `_new_conn`, also after a redirect or for a retry. Our connection classes override
this method. The pools use our classes, since `poolmanager.pool_classes_by_scheme` names them. The Host header, SNI and
the check of the certificate still use the name. A connection also knows the `Call` that it serves, and sets `Call.sent`
before it sends the first byte of the request.
"""

from __future__ import annotations

import http.client
import logging
import re
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import cache
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from retouch.addresses import AddressRefused, SocketAddress, resolve, vet
from retouch.egress.deadline import Deadline

REUSE_WITHIN_S = 1.0
"""
A connection that was idle for more seconds is not used again. Servers close idle connections after 2 s or more. A
request that is sent while the server closes the connection ends with a reset, and for a paid POST nobody knows whether
there was a charge.
"""

STATUSES_MOST = 20
"""How many status lines one answer may have, including interim answers (1xx). A server normally sends one or a few."""


class Call:
    """
    One request with its deadline.

    `sent` becomes True before the first byte is passed to the kernel. At first, `deadline` bounds the connection, TLS
    included. After a call of `connected`, `deadline` is `total_at`, the deadline of the whole call. Instants are those
    of `time.monotonic`.
    """

    __slots__ = ("deadline", "sent", "total_at")

    def __init__(self, connect_s: float, total_s: float) -> None:
        now = time.monotonic()
        self.total_at = now + total_s
        self.deadline = Deadline(now + min(connect_s, total_s))
        self.sent = False

    def connected(self) -> None:
        """Replace the deadline of the connection by that of the whole call."""
        self.deadline.at = self.total_at


# urllib3 has no argument that reaches `_new_conn`, so the call is passed through the thread.
_this_thread = threading.local()


def serve(call: Call | None) -> None:
    """Set the call that the connections of this thread serve; None means no call."""
    _this_thread.call = call


_CHUNK_LINE_MOST = 4_096
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")


class _Bounded(http.client.HTTPResponse):
    """
    An HTTP answer that is read within limits. The base class has no limit on interim answers, chunk sizes and trailers.
    """

    _statuses = 0

    def _read_status(self) -> tuple[str, int, str]:
        self._statuses += 1
        if self._statuses > STATUSES_MOST:
            raise http.client.HTTPException(f"expected at most {STATUSES_MOST} interim answers")
        status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc] # not in the library's stubs
        return status

    def _read_next_chunk_size(self) -> int:
        line = self.fp.readline(_CHUNK_LINE_MOST)
        # A line that was cut may look like another size: if only "0" of "0f3a" came, the answer would end there.
        if not line.endswith(b"\n"):
            raise ValueError("the size of a chunk was cut")
        if not (found := _CHUNK_LINE.fullmatch(line)):
            raise http.client.HTTPException("expected the size of a chunk")
        return int(found[1], 16)

    def _read_and_discard_trailer(self) -> None:
        http.client.parse_headers(self.fp)  # with its limit on the number of headers


class _Guarded(HTTPConnection):
    """
    The base class of HTTP and HTTPS connections that vet their address.

    `networks` are private networks that the connection may reach too. Each session has a subclass with its own
    `networks`. If `networks` is None, no address is vetted; this is for hosts that the operator set.
    """

    response_class = _Bounded
    networks: tuple[str, ...] | None = ()
    _call: Call | None = None
    _gathered: list[bytes]

    @property
    def is_connected(self) -> bool:
        """Return whether the pool may use this connection again: it is open, and was not idle for too long."""
        if (previous := self._call) is not None:
            previous.deadline.lift()
            idle_s = time.monotonic() - (previous.deadline.lifted_at or 0.0)
            if previous.deadline.expired or idle_s > REUSE_WITHIN_S:
                return False
        return super().is_connected

    def _new_conn(self) -> socket.socket:
        self._call = call = getattr(_this_thread, "call", None)
        give_up_at = call.deadline.at if call else time.monotonic() + (self.timeout or 5.0)
        connection = self._connect(give_up_at)
        if call:
            call.deadline.watch(connection)
        return connection

    def _connect(self, give_up_at: float) -> socket.socket:
        try:
            answers = _lookup(self._dns_host, self.port, self.networks, give_up_at)
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, "the name was not resolved") from error
        fault = OSError("the name has no address")
        for tried, answer in enumerate(answers):
            # Each address gets a share of the time, so that an address which never answers does not use all of it.
            within_s = max((give_up_at - time.monotonic()) / (len(answers) - tried), 0.001)
            try:
                return _connected(answer, within_s, self.socket_options or ())
            except OSError as error:
                fault = error
        raise NewConnectionError(self, "no address answered") from fault

    def request(self, *args: Any, **options: Any) -> None:
        """
        Send head and body with one system call. A second call would take a tenth of the time of the whole exchange.
        """
        self._gathered = []
        super().request(*args, **options)
        data, self._gathered = b"".join(self._gathered), []
        if self.sock is None:
            self.connect()
        call = getattr(_this_thread, "call", None)
        if call is not None:
            self._attach(call)
            if call.deadline.expired:  # shut down while connecting, so nothing was sent
                raise NewConnectionError(self, "no connection in time")
            call.sent = True
        self.sock.sendall(data)

    def send(self, data: Any) -> None:
        """Collect a part of the request; `request` sends all parts together."""
        self._gathered.append(data)

    def _attach(self, call: Call) -> None:
        call.connected()
        self.sock.settimeout(call.deadline.left_s())
        if self._call is not call:  # a connection that is used again, and was watched for its last call
            self._call = call
            call.deadline.watch(self.sock)


class _GuardedTls(_Guarded, HTTPSConnection):
    """A guarded connection with TLS; the certificate is checked against the host's name."""


def _connected(
    answer: SocketAddress, within_s: float, options: Sequence[tuple[int, int, int | bytes]]
) -> socket.socket:
    """Return a socket that was connected to a vetted address within `within_s` seconds."""
    connection = socket.socket(answer.family, socket.SOCK_STREAM)
    try:
        for option in options:
            connection.setsockopt(*option)
        connection.settimeout(within_s)
        connection.connect(answer.sockaddr)
    except BaseException:
        connection.close()
        raise
    return connection


def _lookup(host: str, port: int, networks: tuple[str, ...] | None, give_up_at: float) -> list[SocketAddress]:
    """
    Return the vetted addresses of a host; raise `TimeoutError` if the lookup has not ended at `give_up_at`.

    `give_up_at` is an instant of `time.monotonic`. Raises the errors of `resolve` too.
    """
    host = host.strip("[]")
    if vet(host, ("0.0.0.0/0", "::/0")):  # the host is an IP address, so no name server is asked
        return resolve(host, port, networks)
    # The C library's resolver cannot be interrupted, so it runs in a thread that is abandoned if it takes too long.
    found: Future[list[SocketAddress]] = Future()
    threading.Thread(
        target=_resolve_into, args=(found, host, port, networks), name="retouch-lookup", daemon=True
    ).start()
    return found.result(max(give_up_at - time.monotonic(), 0.001))


def _resolve_into(found: Future[list[SocketAddress]], host: str, port: int, networks: tuple[str, ...] | None) -> None:
    """Set the vetted addresses of a host, or the error, as the result of a future."""
    try:
        found.set_result(resolve(host, port, networks))
    except (OSError, ValueError, AddressRefused) as error:
        found.set_exception(error)


class GuardedAdapter(HTTPAdapter):
    """An adapter whose pools make guarded connections and never retry."""

    def __init__(self, networks: tuple[str, ...] | None, pool_size: int, ca_file: str) -> None:
        self.networks = networks
        self._pools = _pool_classes(networks)
        self._tls = _tls_context(ca_file)
        super().__init__(pool_connections=max(pool_size, 16), pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """
        Make the pools, with one TLS context for all, since reading the CA bundle for each connection would be slow.
        """
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._tls, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools


@cache
def _tls_context(ca_file: str) -> ssl.SSLContext:
    """Return the TLS context for a CA bundle. Each process reads a bundle once, which takes 20 ms and a megabyte."""
    context = create_urllib3_context()
    context.load_verify_locations(ca_file)
    return context


def _pool_classes(networks: tuple[str, ...] | None) -> dict[str, type[HTTPConnectionPool]]:
    """Return {scheme: class of its pools}; the connections of these pools may reach `networks`."""
    plain = type("GuardedConnection", (_Guarded,), {"networks": networks})
    tls = type("GuardedTlsConnection", (_GuardedTls,), {"networks": networks})
    return {
        "http": type("GuardedPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("GuardedTlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }


def make_session(
    networks: Sequence[str] | None, pool_size: int, ca_file: str = DEFAULT_CA_BUNDLE_PATH
) -> requests.Session:
    """
    Return a new session that keeps up to `pool_size` connections per host. All threads of a process may share it.

    For addresses that users supply, pass `networks`, a sequence of private networks (CIDR). The session then reaches
    only these networks and the public internet. For hosts that the operator set, such as the endpoint, pass None; no
    address is vetted. `ca_file` is the bundle that certificates are checked with. Proxies and netrc of the environment
    are ignored. Use the session only through `send` and `download`, which keep no cookies and never retry.
    """
    session = requests.Session()
    session.trust_env = False
    adapter = GuardedAdapter(None if networks is None else tuple(networks), pool_size, ca_file)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    _keep_urls_out_of_logs()
    return session


def adapter_of(session: requests.Session) -> GuardedAdapter:
    """Return the adapter of a session that `make_session` made. The adapter has the pools and the networks."""
    adapter = session.adapters["https://"]
    assert isinstance(adapter, GuardedAdapter), "expected a session of make_session"
    return adapter


def _keep_urls_out_of_logs() -> None:
    for name in ("urllib3.connection", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_drop)


def _drop(_record: logging.LogRecord) -> bool:
    """Return False, which drops the record: urllib3 logs whole URLs of customers, also at WARNING."""
    return False
