"""
Ends open requests whose API key is revoked: event streams, and requests that wait for a job.

A route checks the key when a request begins. This module checks the keys of all open requests again every second. If a
key is revoked, its requests that wait or stream are ended. A request that is being processed (it holds a turn of
`request_turns`) is left alone until a later check, so that no work is cut off half-way.
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
"""Seconds between two checks of open requests. A revoked key must stop working within two seconds."""


class OpenRequest:
    """
    A request that is not yet answered in full. `secret` is the secret of its API key, or "" while the key is not known.
    """

    def __init__(self) -> None:
        self.secret = ""
        self.is_answering = self.is_over = self.is_revoked = False
        self._turn_is_held = is_turn_held()
        self._task = asyncio.current_task()

    def end(self) -> None:
        """Cancel the request's task, unless the request holds its turn, is fully answered, or was cancelled before."""
        if self._task and not (self.is_revoked or self.is_over or self._turn_is_held()):
            self.is_revoked = True
            self._task.cancel()


_current: ContextVar[OpenRequest | None] = ContextVar("open_request", default=None)


def note_secret(secret: str) -> None:
    """Register the secret of the current request, so that its key is checked while the request is open."""
    if request := _current.get():
        request.secret = secret


class RevocationWatch:
    """
    ASGI middleware that ends open requests whose API key is revoked.

    `are_valid` gets a list of secrets, and returns for each one whether its key is valid. It is called in a thread.
    """

    def __init__(self, app: ASGIApp, are_valid: Callable[[Sequence[str]], list[bool]]) -> None:
        self._app, self._are_valid = app, are_valid
        self._open: set[OpenRequest] = set()
        self._checker: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request until its answer is complete or its key is revoked."""
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
            # The server that runs this task must not see a cancellation that is dealt with here.
            _uncancel()
        finally:
            self._open.discard(request)
            _current.reset(token)
        if request.is_revoked and not request.is_over:
            await self._answer_revoked(request, scope, receive, send)

    async def _answer_revoked(self, request: OpenRequest, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Answer 401, or end an answer that has begun. In the second case, the client gets a 401 when it connects again.
        """
        if request.is_answering:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        detail = "the key was revoked while the request waited; a job that it enqueued goes on"
        await unauthorized(detail, charged=None).response()(scope, receive, send)

    async def _check(self) -> None:
        """
        Every second, end the requests whose keys are revoked or erased, as long as there are open requests.

        Failure policy: while Redis does not answer, no request is ended. During that time, no open request can read
        from Redis either.
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
