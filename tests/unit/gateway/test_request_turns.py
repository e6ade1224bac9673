"""A request waits only for other requests of its tenant, and holds no turn while it waits for something else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from retouch_producer.gateway.http.limiter import Limiter
from retouch_producer.gateway.http.request_turns import (
    EXTENSION,
    REQUESTS_AT_ONCE,
    REQUESTS_PER_TENANT,
    REQUESTS_WAITING,
    Movable,
    TurnTaking,
    take_turn,
    turn_given_up,
    turn_taken,
)

Route = Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]


class Gateway:
    """
    A gateway that consists of a route and of the middleware that gives turns. The route gets a function that begins the
    answer.
    """

    is_busy = False
    """Whether every tenant is busy."""

    def __init__(self, route: Route) -> None:
        turns = Limiter(REQUESTS_AT_ONCE, REQUESTS_PER_TENANT, REQUESTS_WAITING)
        self._app = TurnTaking(self._serve, turns, slows_others=lambda _: self.is_busy)
        self._route = route

    async def _serve(self, scope: Any, _: Any, send: Any) -> None:
        async def begin_answer() -> None:
            await send({"type": "http.response.start"})

        await self._route(begin_answer)

    def request(self, movable: Movable | None = None) -> asyncio.Task[None]:
        """Start a request and return its task. A request with a `movable` may be moved."""

        async def receive() -> Any:
            """Return an empty body."""
            return {"type": "http.request"}

        async def send(_: Any) -> None:
            """Discard the answer."""

        scope: dict[str, Any] = {"type": "http", "extensions": {EXTENSION: movable} if movable else {}}
        return asyncio.create_task(self._app(scope, receive, send))


class Request:
    """A request that can move if `can_move` is True. Afterwards `outcome` is "moved", "kept" or empty."""

    outcome = ""

    def __init__(self, can_move: bool = True) -> None:
        self._can_move = can_move

    def move(self) -> bool:
        self.outcome = "moved" if self._can_move else self.outcome
        return self._can_move

    def keep(self) -> None:
        self.outcome = "kept"


async def settled() -> None:
    """Let all tasks run until each of them waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel the given tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine function on a new event loop, for at most 20 seconds."""

    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


def test_many_requests_of_one_tenant_leave_turns_to_others() -> None:
    """Of a hundred requests of one tenant two run at a time, and another tenant's request begins at once."""

    async def test() -> None:
        working: list[str] = []
        tenants = iter(["many"] * 100 + ["other"])

        async def route(_: Any) -> None:
            tenant = next(tenants)
            await take_turn(tenant)
            working.append(tenant)
            await asyncio.Event().wait()

        gateway = Gateway(route)
        tasks = [gateway.request() for _ in range(101)]
        await settled()
        assert sorted(working) == ["many"] * REQUESTS_PER_TENANT + ["other"]
        await end(*tasks)

    run(test)


@pytest.mark.parametrize("waits", ["turn_given_up", "answer"])
def test_a_request_that_waits_has_no_turn(waits: str) -> None:
    """A request that has given up its turn or begun to answer does not delay other requests of its tenant."""

    async def test() -> None:
        waiting: list[int] = []

        async def route(begin_answer: Callable[[], Awaitable[None]]) -> None:
            await take_turn("one")
            if waits == "answer":
                await begin_answer()
                waiting.append(1)
                await asyncio.Event().wait()
            async with turn_given_up():
                waiting.append(1)
                await asyncio.Event().wait()

        gateway = Gateway(route)
        tasks = [gateway.request() for _ in range(50)]
        await settled()
        assert len(waiting) == 50
        await end(*tasks)

    run(test)


def test_a_turn_is_taken_again_and_never_lost() -> None:
    """After waits, errors and cancellations, later requests of the tenant still get turns."""

    async def test() -> None:
        news = asyncio.Event()
        done: list[int] = []
        numbers = iter(range(1_000))

        async def route(begin_answer: Callable[[], Awaitable[None]]) -> None:
            number = next(numbers)
            await take_turn("one")
            async with turn_given_up():
                await news.wait()
            if number % 3 == 0:
                raise ConnectionError
            await begin_answer()
            async with turn_taken():
                await asyncio.sleep(0)
            done.append(number)

        gateway = Gateway(route)
        tasks = [gateway.request() for _ in range(60)]
        await settled()
        await end(*tasks[:20])
        news.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert len(done) == 40 - sum(number % 3 == 0 for number in range(20, 60))
        before = len(done)
        later = [gateway.request() for _ in range(9)]
        await asyncio.gather(*later, return_exceptions=True)
        assert len(done) == before + 6

    run(test)


def test_a_request_moves_until_its_work_begins() -> None:
    """
    When a tenant becomes busy, the tenant's new and waiting requests move. Requests that have begun to work, or that
    cannot move, are kept.
    """

    async def test() -> None:
        release = asyncio.Event()
        worked: list[str] = []

        async def route(_: Any) -> None:
            try:
                await take_turn("one")
            except Exception:  # noqa: BLE001 - like a route that answers every error itself
                worked.append("an error")
            worked.append("begun")
            await release.wait()
            async with turn_given_up():
                await asyncio.sleep(0)

        gateway = Gateway(route)
        first = [Request() for _ in range(REQUESTS_PER_TENANT)]
        waiting, late, stuck = Request(), Request(), Request(can_move=False)
        tasks = [gateway.request(one) for one in (*first, waiting)]
        await settled()
        assert [one.outcome for one in (*first, waiting)] == ["kept"] * REQUESTS_PER_TENANT + [""]
        gateway.is_busy = True
        tasks += [gateway.request(one) for one in (late, stuck)]
        await settled()
        assert (late.outcome, waiting.outcome) == ("moved", "")
        release.set()
        await asyncio.gather(*tasks)
        assert [one.outcome for one in (*first, waiting, stuck)] == ["kept"] * REQUESTS_PER_TENANT + ["moved", "kept"]
        assert worked == ["begun"] * (REQUESTS_PER_TENANT + 1)

    run(test)
