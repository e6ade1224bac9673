"""
The turn of each request: so many requests of one tenant are worked on at once, the others of that tenant wait.

All requests of a process share its interpreter, so a tenant that asks for a hundred pages at once would slow everybody
a hundred times. A turn is taken when the tenant is known, and given up while a request only waits (for its body, a
picture, news) and once its answer begins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retouch_producer.gateway.http.limiter import Limiter

REQUESTS_AT_ONCE, REQUESTS_PER_TENANT = 16, 2
"""How many requests are worked on at once, and of one tenant; more of one only take the interpreter from the others."""

REQUESTS_WAITING = 1_000_000
"""None is refused here: a request that comes back for its turn may have enqueued a job by then."""


class RequestTurn:
    """The turn of one request: it has none until `take`, and may give it up and take it again."""

    def __init__(self, turns: Limiter) -> None:
        self._turns, self._tenant = turns, ""
        self._held: AbstractAsyncContextManager[None] | None = None

    @property
    def is_held(self) -> bool:
        """Whether the request may be worked on."""
        return self._held is not None

    async def take(self, tenant: str | None = None) -> None:
        """Wait for a turn of this tenant, or of the one before; does nothing while the request has one."""
        self._tenant = self._tenant if tenant is None else tenant
        if self._held is None:
            turn = self._turns.hold(self._tenant)
            await turn.__aenter__()
            self._held = turn

    async def give_up(self) -> None:
        """Let another request of the tenant have the turn."""
        turn, self._held = self._held, None
        if turn is not None:
            await turn.__aexit__(None, None, None)


_current: ContextVar[RequestTurn | None] = ContextVar("request_turn", default=None)


class TurnTaking:
    """Gives each request its `RequestTurn`, and ends that when the answer begins."""

    def __init__(self, app: ASGIApp, turns: Limiter) -> None:
        self._app, self._turns = app, turns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        turn = RequestTurn(self._turns)
        token = _current.set(turn)

        async def send_without_turn(message: Message) -> None:
            # Whoever reads its answer slowly must not keep the turn of its tenant meanwhile.
            await turn.give_up()
            await send(message)

        try:
            await self._app(scope, receive, send_without_turn)
        finally:
            await turn.give_up()
            _current.reset(token)


def is_turn_held() -> Callable[[], bool]:
    """Return a function that says, from any task, whether the current request is being worked on."""
    turn = _current.get()
    return lambda: turn is not None and turn.is_held


async def give_up_turn() -> None:
    """Let others of the tenant work while the current request waits for long."""
    if turn := _current.get():
        await turn.give_up()


async def take_turn(tenant: str) -> None:
    """Wait until the current request may be worked on for this tenant."""
    if turn := _current.get():
        await turn.take(tenant)


@asynccontextmanager
async def turn_given_up() -> AsyncIterator[None]:
    """Give up the turn of the current request while it only waits; it is taken again behind that."""
    turn = _current.get()
    if turn is None or not turn.is_held:
        yield
        return
    await turn.give_up()
    yield
    await turn.take()


@asynccontextmanager
async def turn_taken() -> AsyncIterator[None]:
    """Work with a turn in the middle of an answer that has begun."""
    turn = _current.get()
    if turn is None or turn.is_held:
        yield
        return
    await turn.take()
    try:
        yield
    finally:
        await turn.give_up()
