"""The stream that makes open pages refresh. All streams of a process share one reader of the feed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from retouch.errors import RetouchError
from retouch.store.console_sessions import ConsoleSessions
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.console.routing import console_router
from retouch_producer.gateway.console.visitors import SignedIn, cookie_of
from retouch_producer.gateway.dependencies import Dependencies, Injected

CHECK_EVERY_S = 2.0
"""
Seconds between two checks that the session of a stream is still open. A stream ends within this time after its key is
revoked.
"""
REST_S = 0.5
"""The shortest time between two messages, in seconds. One message stands for all events of this time."""
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

router = console_router()


@router.get("/live")
async def watch(request: Request, visitor: SignedIn, dependencies: Injected) -> StreamingResponse:
    """Stream a message when something happens to jobs that the visitor may see, at most once in half a second."""
    session = request.cookies.get(cookie_of(request), "")
    messages = _messages(dependencies, visitor.tenant, session)
    return StreamingResponse(messages, media_type="text/event-stream", headers=_HEADERS)


async def _messages(dependencies: Dependencies, tenant: str, session: str) -> AsyncIterator[bytes]:
    """
    Yield the messages of a stream until its session ends.

    Failure policy: any error ends the stream without a message; the page then connects again.
    """
    sessions = ConsoleSessions(dependencies.client)
    with suppress(RetouchError, asyncio.CancelledError):
        async with dependencies.event_hub.listen(tenant) as news:
            yield b"retry: 2000\n\n"
            while await run_in_threadpool(_is_open, sessions, session):
                with suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_EVERY_S):
                        await news.wait()
                yield b"event: news\ndata: \n\n" if news.is_set() else b": alive\n\n"
                news.clear()
                await asyncio.sleep(REST_S)


def _is_open(sessions: ConsoleSessions, session: str) -> bool:
    with clear_errors():
        return sessions.find(session) is not None
