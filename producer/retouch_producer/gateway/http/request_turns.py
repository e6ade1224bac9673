"""
Limits how many requests of one tenant are processed at the same time. Further requests of the tenant wait for a turn.

All requests of a process share one interpreter, so a tenant that sends a hundred requests at once would delay all
tenants. A request takes a turn as soon as its tenant is known. While it waits for its body, a picture or an event, it
gives the turn up. It also gives the turn up when its answer begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retouch_producer.gateway.http.limiter import Limiter

REQUESTS_AT_ONCE, REQUESTS_PER_TENANT = 16, 2
"""Requests that are processed at once, in total and of one tenant: more would only compete for the interpreter."""

EXTENSION = "retouch.request"
"""The ASGI extension of a request that may move to another process: a `Movable`."""

REQUESTS_WAITING = 1_000_000
"""Practically no limit: a request that waits for another turn may have enqueued a job, so it must not be refused."""


class Movable(Protocol):
    """A request that another process can serve, as long as this process has done nothing for it."""

    def move(self) -> bool:
        """
        Pass the request to another process; return whether this was possible. After True, end its task without an
        answer.
        """

    def keep(self) -> None:
        """Serve the request in this process."""


class Moved(asyncio.CancelledError):
    """
    Ends the task of a request that was handed over. As a `CancelledError`, it is not handled as an error by any route.
    """


class RequestTurn:
    """The turn of one request. It can be taken and given up any number of times."""

    def __init__(self, turns: Limiter, request: Movable | None, slows_others: Callable[[str], bool]) -> None:
        self._turns, self._request, self._slows_others, self._tenant = turns, request, slows_others, ""
        self._held: AbstractAsyncContextManager[None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether the request holds its turn, so that it may be processed now."""
        return self._held is not None

    async def take(self, tenant: str | None = None) -> None:
        """
        Wait for a turn of a tenant, or of the tenant of the last call if `tenant` is None.

        If the request already holds a turn, do nothing. A request that would make other tenants slow is handed over to
        another process before its first turn, if possible. In this case, raise `Moved`.
        """
        self._tenant = self._tenant if tenant is None else tenant
        if self._held is not None:
            return
        self._move_if_possible()
        turn = self._turns.hold(self._tenant)
        await turn.__aenter__()
        self._held = turn
        # The tenant may have become busy meanwhile.
        self._move_if_possible()
        if self._request is not None:
            self._request.keep()
            self._request = None

    def _move_if_possible(self) -> None:
        if self._request is not None and self._slows_others(self._tenant) and self._request.move():
            raise Moved

    async def give_up(self) -> None:
        """Release the turn if it is held, so that another request of the tenant can take it."""
        turn, self._held = self._held, None
        if turn is not None:
            await turn.__aexit__(None, None, None)


_current: ContextVar[RequestTurn | None] = ContextVar("request_turn", default=None)


class TurnTaking:
    """ASGI middleware that gives each request a `RequestTurn`, and releases the turn when the answer begins."""

    def __init__(self, app: ASGIApp, turns: Limiter, slows_others: Callable[[str], bool]) -> None:
        self._app, self._turns, self._slows_others = app, turns, slows_others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        turn = RequestTurn(self._turns, scope.get("extensions", {}).get(EXTENSION), self._slows_others)
        token = _current.set(turn)

        async def send_without_turn(message: Message) -> None:
            # A client that reads its answer slowly must not block its tenant's other requests.
            await turn.give_up()
            await send(message)

        try:
            with suppress(Moved):
                await self._app(scope, receive, send_without_turn)
        finally:
            await turn.give_up()
            _current.reset(token)


def is_turn_held() -> Callable[[], bool]:
    """
    Return a function that returns whether this request holds its turn.

    The returned function may be called in any task. It is always about the request that was current when it was made.
    """
    turn = _current.get()
    return lambda: turn is not None and turn.is_held


async def give_up_turn() -> None:
    """Release the turn of the current request, which is about to wait."""
    if turn := _current.get():
        await turn.give_up()


async def take_turn(tenant: str) -> None:
    """Wait until the current request has a turn of this tenant."""
    if turn := _current.get():
        await turn.take(tenant)


@asynccontextmanager
async def turn_given_up() -> AsyncIterator[None]:
    """Context manager that releases the turn of the current request during the block, and takes one again after it."""
    turn = _current.get()
    if turn is None or not turn.is_held:
        yield
        return
    await turn.give_up()
    yield
    await turn.take()


@asynccontextmanager
async def turn_taken() -> AsyncIterator[None]:
    """Context manager that holds a turn during the block, for a request whose answer has begun."""
    turn = _current.get()
    if turn is None or turn.is_held:
        yield
        return
    await turn.take()
    try:
        yield
    finally:
        await turn.give_up()
