"""The simulator as a Starlette application: its routes, and the header that marks all its answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retouch_ops.simulator import control_routes, edit_route, fetch_routes, index_page
from retouch_ops.simulator.config import ControlError, SimulatorConfig
from retouch_ops.simulator.fault_transport import HEADER
from retouch_ops.simulator.state import SimulatorState

SAMPLE = Path(__file__).parent.parent / "samples" / "portrait.jpg"

Handler = Callable[[SimulatorState, Request], Awaitable[Response]]


class _SimulatorHeader:
    """ASGI middleware that adds the simulator's header to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], HEADER]
            await send(message)

        await self._app(scope, receive, marked)


def make_simulator(config: SimulatorConfig) -> Starlette:
    """
    Return a simulator. Its state is in memory, so it must run in a single process.

    Serve it with `retouch_ops.simulator.server.serve`. Under any other server, a fault that breaks the connection
    raises `RuntimeError`.
    """
    state = SimulatorState(config)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        state.image_pool.close()

    def route(path: str, handler: Handler, *methods: str) -> Route:
        async def bound(request: Request) -> Response:
            return await handler(state, request)

        return Route(path, bound, methods=list(methods or ("GET",)))

    return Starlette(
        routes=[
            route("/api/v5/pix2pix", edit_route.post, "POST"),
            route("/api/v6/image_editing/pix2pix", edit_route.post, "POST"),
            route("/api/v3/fetch/{id}", fetch_routes.fetch, "POST"),
            route("/api/v6/fetch/{id}", fetch_routes.fetch, "POST"),
            route("/api/v6/image_editing/fetch/{id}", fetch_routes.fetch, "POST"),
            route("/generations/{name}", fetch_routes.output),
            route("/control/settings", control_routes.settings, "GET", "POST"),
            route("/control/faults", control_routes.faults, "GET", "POST"),
            route("/control/reset", control_routes.reset, "POST"),
            route("/control/books", control_routes.books),
            route("/", index_page.show),
            Route("/samples/portrait.jpg", _sample),
            Route("/healthz", _healthz),
        ],
        middleware=[Middleware(_SimulatorHeader)],
        exception_handlers={ControlError: control_routes.refused},
        lifespan=lifespan,
    )


async def _sample(_: Request) -> Response:
    return FileResponse(SAMPLE, media_type="image/jpeg")


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok")
