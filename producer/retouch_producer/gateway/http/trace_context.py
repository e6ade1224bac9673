"""Continues the trace of a request that came with a W3C `traceparent`."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from retouch.tracing import Tracing


class TraceContext:
    """ASGI middleware that reads `traceparent`, so that the spans of a request belong to the caller's trace."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with self._tracing.incoming(Headers(scope=scope)):
            await self._app(scope, receive, send)
