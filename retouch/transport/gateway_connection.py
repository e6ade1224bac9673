"""
Calls the gateway over HTTP, with the standard library: connections are reused, and error answers become exceptions.
"""

from __future__ import annotations

import json
import ssl
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import quote, urlencode, urlsplit

from pydantic import SecretStr

from retouch.blobs import BlobError
from retouch.errors import (
    IdempotencyConflict,
    InvalidEdit,
    QueueFull,
    RetouchError,
    StoreUnavailable,
    Unauthorized,
    UnknownJob,
)
from retouch.json_types import Document, JsonObject
from retouch.store.jobs import EnqueueResult, refused

Query = Mapping[str, object]
"""
Parameters of a URL. A parameter that is None or empty is left out; a list becomes one parameter for each of its values.
"""

_KEPT_MOST = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the gateway."""

    status: int
    body: bytes

    def document(self) -> JsonObject:
        """Return the body as a JSON object; raise `StoreUnavailable` for any other body, which no gateway sends."""
        try:
            value = json.loads(self.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise StoreUnavailable(f"expected a Retouch gateway, got an answer of status {self.status} without JSON")
        return value


class StateConflict(RetouchError):
    """The state of a job or a delivery does not permit the call."""


class GatewayConnections:
    """
    Reused connections to one gateway. Threads may share this object: each call has a connection of its own.

    Calls follow no redirect and use no proxy. `timeout_s` bounds the wait for each part of an answer. A request may be
    sent twice. This enqueues nothing twice, since requests that enqueue have an idempotency key.
    """

    def __init__(self, url: str, api_key: SecretStr, timeout_s: float) -> None:
        self._where = urlsplit(url)
        self._key, self._timeout_s = api_key, timeout_s
        self._idle: deque[HTTPConnection] = deque()

    def exchange(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """
        Send a request and return the whole answer; for an error answer, raise the matching exception.

        Failure policy: the gateway may have closed an idle connection. A request on that connection gets no answer, and
        nobody knows whether the gateway has the request. Therefore the request is sent once more, on a new connection.
        After a timeout it is not sent again. Without any answer, this raises `StoreUnavailable`.
        """
        given = {name: value for name, value in (query or {}).items() if value not in (None, "")}
        target = f"{self._where.path}{quote(path)}" + (f"?{urlencode(given, doseq=True)}" if given else "")
        sent = {"Authorization": f"Bearer {self._key.get_secret_value()}", "Accept": "application/json"}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        if data is not None:
            sent["Content-Type"] = "application/octet-stream" if data is body else "application/json"
        answer = self._send(method, target, data, {**sent, **(headers or {})})
        if answer.status >= 300:
            raise error_of(answer)
        return answer

    def _send(self, method: str, target: str, data: bytes | None, headers: dict[str, str]) -> Answer:
        idle = self._idle
        try:
            kept: HTTPConnection | None = idle.pop()
        except IndexError:
            kept = None
        for connection in (kept, self._connect()) if kept else (self._connect(),):
            try:
                connection.request(method, target, data, headers)
                return self._read(connection, connection.getresponse(), idle)
            except (OSError, HTTPException) as error:
                connection.close()
                # After a timeout, the connection was not closed, and another try would double the wait.
                if connection is not kept or isinstance(error, TimeoutError):
                    raise _outage(f"did not answer ({type(error).__name__})") from error
        raise AssertionError("the last connection answers or raises")

    def _read(self, connection: HTTPConnection, response: HTTPResponse, idle: deque[HTTPConnection]) -> Answer:
        body = response.read()
        if response.will_close or len(idle) >= _KEPT_MOST:
            connection.close()
        else:
            idle.append(connection)
        if idle is not self._idle:  # `close` was called during this call
            _close_all(idle)
        return Answer(response.status, body)

    def _connect(self) -> HTTPConnection:
        host, port = str(self._where.hostname), self._where.port
        if self._where.scheme == "https":
            return HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        return HTTPConnection(host, port, timeout=self._timeout_s)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when their calls end."""
        idle, self._idle = self._idle, deque()
        _close_all(idle)


def _close_all(idle: deque[HTTPConnection]) -> None:
    with suppress(IndexError):
        while True:
            idle.pop().close()


def error_of(answer: Answer) -> RetouchError:
    """Return the exception for an answer whose status is an error."""
    # A gateway never answers 3xx, so something else is at this address.
    if answer.status >= 500 or answer.status < 400:
        outage = _outage(f"answered {answer.status}")
        return BlobError(str(outage)) if b"/problems/image-store-unavailable" in answer.body else outage
    return error_in(answer.document())


def _outage(what: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"the gateway {what}; whether the last call was carried out is not known. Repeating it is safe: enqueue again "
        "with the same idempotency key."
    )


def error_in(problem: Document) -> RetouchError:
    """Return the exception for a problem document; a client over Redis raises the same exception."""
    kind, detail = str(problem.get("type", "")).rpartition("/")[2], str(problem.get("detail", ""))
    match kind:
        case "unauthorized" | "forbidden":
            return Unauthorized(f"the gateway refused the API key: {detail}")
        case "not-found":
            return UnknownJob(detail)
        case "conflict" | "no-image-yet":
            return StateConflict(detail)
        case "slow-body":
            return _outage("gave up reading the request")
        case "idempotency-conflict":
            return IdempotencyConflict(f"{detail}. Use a new key for a new request.")
        case "backlog-full" | "budget-spent" | "too-many-at-once":
            reason = "requests" if kind == "too-many-at-once" else kind.partition("-")[0]
            return QueueFull("of this key", reason, 1, float(problem.get("retry_after_s") or 0))
    faults = [(str(fault["field"]), str(fault["message"])) for fault in problem.get("faults", ())]
    return InvalidEdit(faults or [("request", detail or kind)])


def result_of(item: Document, has_own_key: bool) -> EnqueueResult:
    """Return the result for one item of the gateway's answer to a batch."""
    if item["problem"]:
        return refused(error_in(item["problem"]))
    if item.get("shared"):
        return EnqueueResult("shared", item["id"])
    # An idempotency key from us is used by this call alone, so an earlier try of it enqueued the job.
    return EnqueueResult("replayed" if item["replayed"] and has_own_key else "new", item["id"])
