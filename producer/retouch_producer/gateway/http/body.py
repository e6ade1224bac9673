"""Reads request bodies within limits of size and time, and parses JSON and the values of headers and queries."""

from __future__ import annotations

import asyncio
import json
import math
import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Header, Request
from starlette.concurrency import run_in_threadpool

from retouch_producer.documents import Document
from retouch_producer.gateway.http.errors import ProblemError, invalid
from retouch_producer.gateway.http.request_turns import turn_given_up

SINGLE_MOST, BATCH_MOST, UPLOAD_MOST = 64 * 1024, 4 * 1024 * 1024, 50_000_000
JSON_WITHIN_S, UPLOAD_WITHIN_S = 10.0, 60.0
WAIT_MOST_S = 60.0
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,4})\"?\s*(?:$|[,;])", re.IGNORECASE)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_CLOSE = {"Connection": "close"}

Prefer = Annotated[
    str | None, Header(description="`wait=N` delays the answer until there is a result, for up to N s (60 at most).")
]


def preferred_wait_s(prefer: str | None) -> float:
    """Return the N of `wait=N` in a `Prefer` header, in seconds and at most 60. Return 0 if there is no `wait=N`."""
    match = _WAIT.search(prefer or "")
    return min(float(match[1]), WAIT_MOST_S) if match else 0.0


async def read_body(request: Request, max_bytes: int, within_s: float = JSON_WITHIN_S) -> bytes:
    """
    Return the whole body of a request.

    Raises the problem `too-large`, or `slow-body` after `within_s` seconds. In both cases the connection is closed.
    """
    # A body that declares too many bytes is refused before any of it is read.
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared[:18]) > max_bytes:
        raise _too_large(max_bytes)
    chunks, count = [], 0
    try:
        async with turn_given_up(), asyncio.timeout(within_s):
            async for chunk in request.stream():
                chunks.append(chunk)
                count += len(chunk)
                if count > max_bytes:
                    raise _too_large(max_bytes)
    except TimeoutError:
        detail = f"expected the whole body within {within_s:g} s"
        raise ProblemError("slow-body", detail, headers=_CLOSE) from None
    return b"".join(chunks)


def _too_large(max_bytes: int) -> ProblemError:
    return ProblemError("too-large", f"expected at most {max_bytes:,} bytes", headers=_CLOSE)


async def read_json(request: Request, max_bytes: int) -> Document:
    """
    Return the JSON object in the body. Raises the problems of `read_body` and `parse_object`, and
    `unsupported-media-type`.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise ProblemError("unsupported-media-type", "expected Content-Type: application/json", headers=_CLOSE)
    body = await read_body(request, max_bytes)
    # Parsing 4 MB of JSON takes a tenth of a second, in which the event loop would serve nobody.
    return parse_object(body) if len(body) <= SINGLE_MOST else await run_in_threadpool(parse_object, body)


def parse_object(body: bytes) -> Document:
    """
    Return one JSON object, parsed from UTF-8. Raises the problem `malformed-body`.

    Texts with unpaired surrogates and numbers that are not finite are refused too. Therefore every parsed value can be
    stored, hashed and written into an answer.
    """
    try:
        # Some clients put a byte order mark before UTF-8 text.
        text = body.decode("utf-8-sig")
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ProblemError("malformed-body", "expected text without unpaired surrogates") from None
    except (ValueError, RecursionError):
        raise ProblemError("malformed-body", "expected one JSON object in UTF-8") from None
    if not isinstance(value, dict):
        raise ProblemError("malformed-body", f"expected a JSON object, got {type(value).__name__}")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return number


def parse_instant(text: str | None, name: str) -> float:
    """
    Return a time as Unix seconds. The text is in ISO 8601 or has Unix seconds; None and "" return 0.

    A time without a zone is taken as UTC. Raises the problem `invalid-request` for the field `name`.
    """
    if not text:
        return 0.0
    try:
        at = datetime.fromisoformat(text) if not _is_number(text) else datetime.fromtimestamp(float(text), UTC)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        faults = [(name, "expected an ISO 8601 time or Unix seconds")]
        raise invalid(faults) from None


def _is_number(text: str) -> bool:
    # `float` accepts more than numbers of seconds: `nan`, `1e9`, digits of other scripts.
    return text.isascii() and text.replace(".", "", 1).isdecimal()
