"""
Requests that stay open end with their API key: streams, feeds that wait, `Prefer: wait`, the drop-in's wait.

A key is checked when a request begins. One that is open for longer is checked every second from here, so no route has
to ask, and none can forget to. A request is ended while it only waits or streams; one that works keeps its turn and is
looked at again a second later, so that nothing is cut off half-way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retouch.errors import StoreUnavailable
from retouch_producer.gateway.http.errors import unauthorized
from retouch_producer.gateway.http.request_turns import is_turn_held

CHECK_EVERY_S = 1.0
"""How often the keys of open requests are looked up; below the two seconds after which a revoked key works no more."""


class OpenRequest:
    """A request on its way, the secret that it came with once that is known, and whether its answer has begun."""

    def __init__(self) -> None:
        self.secret = ""
        self.is_answering = self.is_over = self.is_revoked = False
        self._turn_is_held = is_turn_held()
        self._task = asyncio.current_task()

    def end(self) -> None:
        """End the request, unless it is being worked on just now or was ended before."""
        if self._task and not (self.is_revoked or self.is_over or self._turn_is_held()):
            self.is_revoked = True
            self._task.cancel()


_current: ContextVar[OpenRequest | None] = ContextVar("open_request", default=None)


def note_secret(secret: str) -> None:
    """Note the secret of the current request, which is valid now."""
    if request := _current.get():
        request.secret = secret


class RevocationWatch:
    """ASGI middleware that ends open requests whose key is revoked; `are_valid(secrets)` blocks, in order."""

    def __init__(self, app: ASGIApp, are_valid: Callable[[Sequence[str]], list[bool]]) -> None:
        self._app, self._are_valid = app, are_valid
        self._open: set[OpenRequest] = set()
        self._checker: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, until its end or its key's."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = OpenRequest()
        token = _current.set(request)
        self._open.add(request)
        if self._checker is None or self._checker.done():
            self._checker = asyncio.create_task(self._check())

        async def observed_send(message: Message) -> None:
            request.is_answering = True
            request.is_over = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, observed_send)
        except asyncio.CancelledError:
            if not request.is_revoked:
                raise
            _uncancel()
        finally:
            self._open.discard(request)
            _current.reset(token)
        if request.is_revoked and not request.is_over:
            await self._answer_revoked(request, scope, receive, send)

    async def _answer_revoked(self, request: OpenRequest, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or end the stream that has begun, whose reader is answered 401 when it comes back."""
        if request.is_answering:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        detail = "the key was revoked while the request waited; a job that it had put in goes on"
        await unauthorized(detail, charged=None).response()(scope, receive, send)

    async def _check(self) -> None:
        """
        End open requests of keys that are revoked or erased.

        Failure policy: while Redis does not answer, none is ended; such a request gets nothing out of Redis either.
        """
        while self._open:
            await asyncio.sleep(CHECK_EVERY_S)
            secrets = sorted({request.secret for request in self._open if request.secret})
            with suppress(StoreUnavailable, OSError):
                valid = dict(zip(secrets, await run_in_threadpool(self._are_valid, secrets), strict=True))
                for request in [*self._open]:
                    if not valid.get(request.secret, True):
                        request.end()


def _uncancel() -> None:
    if task := asyncio.current_task():
        task.uncancel()
