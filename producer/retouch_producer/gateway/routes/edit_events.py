"""`/v1/edits/{job_id}/events`: the events of a job as they happen, as server-sent events."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from retouch.errors import RetouchError
from retouch.states import JobState
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.events.event_hub import WireEvent, wire_event
from retouch_producer.gateway.http.auth import Caller
from retouch_producer.gateway.http.errors import Responses, problem_responses
from retouch_producer.gateway.http.request_turns import turn_taken
from retouch_producer.gateway.routes.edit_subresources import events_of

ALIVE_EVERY_S = 15.0
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STREAM: Responses = {
    200: {
        "description": "Messages whose `event` is the type, `id` the sequence and `data` an Event, until the job ends.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}

LastEventId = Annotated[str | None, Header(description="The stream continues after this sequence number.")]

router = APIRouter(prefix="/v1/edits", tags=["edits"])


@router.get(
    "/{job_id}/events",
    operation_id="watch_edit",
    response_class=StreamingResponse,
    responses={**_STREAM, **problem_responses(401, 404, 422, 503)},
)
async def watch_edit(
    job_id: str, key: Caller, dependencies: Injected, last_event_id: LastEventId = None
) -> StreamingResponse:
    """
    Stream the past and future events of a job until the job ends.

    With the header `Last-Event-ID`, the stream begins after that event. Every EventSource sends the header after a lost
    connection, so the stream continues where it stopped.
    """
    # Answers 404 before the stream begins, while there is still a status to set.
    await run_in_threadpool(dependencies.record, job_id, key)
    after = int(last_event_id) if last_event_id and re.fullmatch(r"[0-9]{1,9}", last_event_id) else -1
    return StreamingResponse(_messages(dependencies, job_id, after), media_type="text/event-stream", headers=_HEADERS)


async def _messages(dependencies: Dependencies, job: str, after: int) -> AsyncIterator[bytes]:
    """
    Yield the server-sent messages for the events after a sequence number.

    Failure policy: any error ends the stream; the client connects again and continues after its last event.
    """
    try:
        async with dependencies.event_hub.watch(job) as watcher:
            past, is_over = await _past_in_turn(dependencies, job, after)
            for event in past:
                after = event.sequence
                yield _message(event)
            while not is_over and not watcher.lost:
                new_events = [event for event in await watcher.wait(ALIVE_EVERY_S) if event.sequence > after]
                for event in new_events:
                    after = event.sequence
                    yield _message(event)
                    is_over = is_over or event.is_final
                if not new_events:
                    yield b": alive\n\n"
                    # The feed may have lost events in an outage of Redis; the record of the job has them.
                    missed, is_over = await _past_in_turn(dependencies, job, after)
                    for event in missed:
                        after = event.sequence
                        yield _message(event)
    except (RetouchError, asyncio.CancelledError):
        return


async def _past_in_turn(dependencies: Dependencies, job: str, after: int) -> tuple[list[WireEvent], bool]:
    async with turn_taken():
        return await run_in_threadpool(_past, dependencies, job, after)


def _past(dependencies: Dependencies, job: str, after: int) -> tuple[list[WireEvent], bool]:
    """Return a job's events whose sequence is above `after`, and whether the job has ended or is not on record."""
    with clear_errors():
        record = dependencies.connections.jobs.record(job)
        if record is None:
            return [], True
        past = [wire_event(event) for event in events_of(record, dependencies, after)]
    return past, past[-1].is_final if past else JobState(record.state).is_final


def _message(event: WireEvent) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.sequence, event.type.encode(), event.data)
