"""Waits for the images or the events of one job."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

from retouch.errors import EditCancelled, EditFailed, ResultTimeout
from retouch.events import Event
from retouch.outcomes import Image
from retouch.states import FINAL_EVENTS, JobState
from retouch.store.records import JobError, JobRecord
from retouch.transport.interface import Transport

_RECHECK_S = 15.0  # the feed wakes us sooner, unless an outage has hidden an event


async def images_of(transport: Transport, job: str, timeout_s: float | None) -> tuple[Image, ...]:
    """Wait for a job to end and return its images, at least one, as `Job.result` does."""
    end = None if timeout_s is None else time.monotonic() + timeout_s
    async with transport.listener.follow(job, transport.news) as changed:
        while not JobState((record := await transport.record(job)).state).is_final:
            left_s = _RECHECK_S if end is None else min(_RECHECK_S, end - time.monotonic())
            if left_s <= 0:
                raise ResultTimeout(job, record.state, timeout_s or 0.0)
            await changed.wait_within(left_s)
            changed.clear()
    return _images(record)


def _images(record: JobRecord) -> tuple[Image, ...]:
    """
    Return the images of a job that has ended. Raise `EditCancelled` if it was cancelled, `EditFailed` if it failed.
    """
    if record.state == JobState.CANCELLED:
        raise EditCancelled(record.id, record.cancelled)
    if not record.images:
        error = record.error or JobError("unknown", "no reason is on record", retryable=False)
        possible = sum(charge.possible for charge in record.charges)
        raise EditFailed(record.id, error.code, error.message, error.retryable, possible)
    return record.images


async def events_of(transport: Transport, job: str, after: int) -> AsyncGenerator[Event, None]:
    """Yield a job's events whose sequence is above `after`, past and future ones, as `Job.events` does."""
    async with transport.listener.follow(job, transport.news) as changed:
        while True:
            news, is_final = await transport.timeline(job, after)
            for event in news:
                after = event["data"]["sequence"]
                yield event
            if (is_final and not news) or (news and news[-1]["type"] in FINAL_EVENTS):
                return
            await changed.wait_within(_RECHECK_S)
            changed.clear()
