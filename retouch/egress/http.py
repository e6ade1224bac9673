"""
One HTTP exchange within a total deadline. Its result is a value: an `Answer`, or `Trouble` that says why there is none.

This module uses only the connection pools of a `requests` session (`make_session`). The other parts of `requests`
(preparing, hooks, cookies, redirects) take more time than the exchange and are not wanted here. No request is sent
twice, and no peer can cause an exception.

Failure policy: a request was not billed if `Trouble.sent` is False. It is False only if no byte of the request was
passed to the kernel, because the name, the vetting, the connection or the TLS handshake failed. A request on a kept
connection counts as sent, even if the peer had closed the connection.
"""

from __future__ import annotations

import http.client
import json as _json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urljoin

import requests
from urllib3 import BaseHTTPResponse, Retry, Timeout
from urllib3.exceptions import HTTPError, ReadTimeoutError

from retouch.addresses import AddressRefused, Url, fault_of, split
from retouch.egress.guarded_session import Call, adapter_of, make_session, serve

__all__ = ["Answer", "Trouble", "TroubleKind", "download", "make_session", "send"]

CONNECT_TIMEOUT_S = 5.0
MAX_REDIRECTS = 3
_CHUNK = 65_536
_NO_RETRY = Retry(total=False, redirect=0)
_HEADERS = {"User-Agent": "Retouch", "Accept": "*/*", "Accept-Encoding": "identity"}

TroubleKind = Literal["refused_address", "not_connected", "timeout", "reset", "too_large", "bad_answer"]


@dataclass(frozen=True, slots=True)
class Answer:
    """
    The answer of the peer, whatever its status.

    Lookups in `headers` ignore case. `truncated` is true if the body was longer than `max_bytes`.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    elapsed_s: float
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """
    The reason why there is no answer. `detail` contains no URL, host or body.

    | kind | what happened | sent |
    |---|---|---|
    | refused_address | the URL's text or its resolved address is not allowed | False |
    | not_connected | name, connection or TLS handshake failed, or took too long | False |
    | timeout | the total deadline passed | True |
    | reset | the peer closed the connection before the end of its answer | True |
    | too_large | the body was longer than `max_bytes` | True |
    | bad_answer | not HTTP, or with a content encoding that was not requested | True |
    """

    kind: TroubleKind
    sent: bool
    detail: str
    elapsed_s: float = 0.0


class _Refused(Exception):
    """Carries the kind and the detail of a `Trouble` to `send`, from the code that reads a body."""

    def __init__(self, kind: TroubleKind, detail: str) -> None:
        self.kind, self.detail = kind, detail
        super().__init__(detail)


def send(
    session: requests.Session,
    method: str,
    url: str,
    *,
    json: object = None,
    data: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
    max_bytes: int,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    truncate: bool = False,
    admit: Callable[[int], bool] | None = None,
) -> Answer | Trouble:
    """
    Send one request and return its answer, all within `timeout_s` seconds. A redirect is an answer like any other.

    `json` is serialised; `data` is sent as it is. If the body of the answer is longer than `max_bytes`, the result is
    `Trouble`, or with `truncate` an answer with a cut body. Before the body is read, `admit` is called with the largest
    size in bytes that the body may have. If `admit` returns False, the result is `Trouble` of kind `timeout`. A guarded
    session checks the text of the URL and every address of its host.
    """
    started_at = time.monotonic()
    networks = adapter_of(session).networks
    parts = split(url)
    fault = parts if isinstance(parts, str) else None if networks is None else fault_of(url, networks)
    if fault is not None or isinstance(parts, str):
        return Trouble("refused_address", False, str(fault))
    if json is not None:
        data = _json.dumps(json, ensure_ascii=False, separators=(",", ":")).encode()
    call = Call(connect_timeout_s, timeout_s)
    try:
        response = _exchange(session, method, parts, data, _headers(headers, json is not None), call)
        body, truncated = _read(response, max_bytes, truncate, call, admit)
        return Answer(response.status, response.headers, body, time.monotonic() - started_at, truncated)
    except Exception as error:  # noqa: BLE001 - nothing that a peer sends may raise into an attempt: it may be paid
        return _trouble(error, call, time.monotonic() - started_at)
    finally:
        # The connection may be back in its pool, for another call.
        serve(None)
        call.deadline.lift()


def download(
    session: requests.Session, url: str, *, timeout_s: float, max_bytes: int, admit: Callable[[int], bool] | None = None
) -> Answer | Trouble:
    """
    GET a URL, follow up to three redirects, and return the last answer, whatever its status.

    Each redirect is checked and vetted like the first URL. `timeout_s` is the limit for all requests together; `admit`
    is called for each request, as in `send`.
    """
    give_up_at = time.monotonic() + timeout_s
    for _ in range(MAX_REDIRECTS + 1):
        left_s = max(give_up_at - time.monotonic(), 0.001)
        answer = send(session, "GET", url, timeout_s=left_s, max_bytes=max_bytes, admit=admit)
        location = answer.headers.get("location") if isinstance(answer, Answer) else None
        if not isinstance(answer, Answer) or answer.status not in (301, 302, 303, 307, 308) or not location:
            return answer
        try:
            url = urljoin(url, location)
        except ValueError:
            return Trouble("refused_address", False, "expected a redirect to a URL")
    return Trouble("bad_answer", True, f"expected at most {MAX_REDIRECTS} redirects")


def _headers(given: Mapping[str, str] | None, is_json: bool) -> dict[str, str]:
    content = {"Content-Type": "application/json"} if is_json else {}
    return {**_HEADERS, **content, **(given or {})}


def _exchange(
    session: requests.Session, method: str, url: Url, data: bytes | None, headers: dict[str, str], call: Call
) -> BaseHTTPResponse:
    """Send the request and return the response, whose body is not read yet."""
    serve(call)
    pool = adapter_of(session).poolmanager.connection_from_host(url.host, url.port, url.scheme)
    left_s = call.total_at - time.monotonic()
    response: BaseHTTPResponse = pool.urlopen(
        method,
        url.target,
        body=data,
        headers=headers,
        retries=_NO_RETRY,
        redirect=False,
        assert_same_host=False,
        timeout=Timeout(connect=call.deadline.left_s(), read=max(left_s, 0.001)),
        preload_content=False,
        decode_content=False,
    )
    return response


def _read(
    response: BaseHTTPResponse, max_bytes: int, truncate: bool, call: Call, admit: Callable[[int], bool] | None
) -> tuple[bytes, bool]:
    """Read the body and return (body, whether it was cut). Raise `_Refused` if the call has to return `Trouble`."""
    try:
        size = _check_head(response, max_bytes, truncate)
        if admit is not None and not admit(size):
            raise _Refused("timeout", "there was no room for the answer's bytes in time")
        # One byte beyond the limit is read, which shows that the body is longer.
        chunks, count = [], 0
        while count <= max_bytes and (chunk := response.read(min(_CHUNK, max_bytes + 1 - count))):
            chunks.append(chunk)
            count += len(chunk)
        if count > max_bytes and not truncate:
            raise _Refused("too_large", f"expected at most {max_bytes} bytes, got more")
        # Such a body ends with the connection, so if we shut the connection down, that looks like the body's end.
        if call.deadline.expired and _ends_with_connection(response):
            raise _Refused("timeout", "the answer was not complete in time")
        body = b"".join(chunks)
        return body[:max_bytes], count > max_bytes
    finally:
        # A body that was read to its end has closed the response, and the connection is in its pool again.
        if not response.closed:
            response.close()


def _ends_with_connection(response: BaseHTTPResponse) -> bool:
    return "content-length" not in response.headers and "transfer-encoding" not in response.headers


def _check_head(response: BaseHTTPResponse, max_bytes: int, truncate: bool) -> int:
    """
    Check the status and the headers, and return the most bytes that the body may have. Raise `_Refused` for a fault.
    """
    encoding = response.headers.get("content-encoding", "identity")
    length = response.headers.get("content-length", "")
    if response.status < 200:
        raise _Refused("bad_answer", f"expected a final status, got {response.status}")
    if encoding.strip().lower() not in ("", "identity"):
        raise _Refused("bad_answer", "expected no content encoding, got one that was not requested")
    if not truncate and length.isdecimal() and int(length[:18]) > max_bytes:
        raise _Refused("too_large", f"expected at most {max_bytes} bytes, got {length[:18]}")
    return min(int(length[:18]), max_bytes) if length.isdecimal() else max_bytes


def _trouble(error: Exception, call: Call, elapsed_s: float) -> Trouble:
    """Return the `Trouble` that describes an exception of an exchange."""
    if isinstance(error, AddressRefused):
        return Trouble("refused_address", False, str(error), elapsed_s)
    # Checked before any other class of error: what was not sent was not billed, whatever went wrong.
    if not call.sent:
        return Trouble("not_connected", False, _name(error), elapsed_s)
    if call.deadline.expired or isinstance(error, ReadTimeoutError) or isinstance(_cause(error), TimeoutError):
        return Trouble("timeout", True, "the answer was not complete in time", elapsed_s)
    if isinstance(error, _Refused):
        return Trouble(error.kind, True, error.detail, elapsed_s)
    is_reset = isinstance(_cause(error), OSError | http.client.IncompleteRead)  # RemoteDisconnected is an OSError too
    return Trouble("reset" if is_reset else "bad_answer", True, _name(error), elapsed_s)


def _name(error: Exception) -> str:
    """Return the class name of an error's innermost cause, with the operating system's text if there is one."""
    # The text of urllib3 or ssl is not used, since it contains hosts and URLs.
    cause = _cause(error)
    words = cause.reason if isinstance(cause, ssl.SSLError) else cause.strerror if isinstance(cause, OSError) else None
    return f"{type(cause).__name__}: {words}" if words else type(cause).__name__


def _cause(error: BaseException) -> BaseException:
    """Return the innermost cause of an error of urllib3; return any other error as it is."""
    while isinstance(error, HTTPError):
        inner = error.__cause__ or next((one for one in error.args if isinstance(one, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error
