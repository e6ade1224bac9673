"""Waits for a job to end without occupying a thread."""

from __future__ import annotations

import asyncio

from starlette.concurrency import run_in_threadpool

from retouch.states import JobState
from retouch.store.jobs import JobStore
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.events.event_hub import EventHub
from retouch_producer.gateway.http.request_turns import turn_given_up

_RECHECK_S = 5.0  # the event hub wakes the wait; this covers events that were lost in an outage of Redis


async def wait_until_final(event_hub: EventHub, jobs: JobStore, job: str, within_s: float) -> bool:
    """
    Wait up to `within_s` seconds for a job to end. Return whether it has ended; False if the job is not on record.
    """
    give_up_at = asyncio.get_running_loop().time() + within_s
    async with event_hub.watch(job) as watcher:
        while True:
            with clear_errors():
                record = await run_in_threadpool(jobs.record, job)
            if record is None or JobState(record.state).is_final:
                return record is not None
            look_again_at = min(give_up_at, asyncio.get_running_loop().time() + _RECHECK_S)
            async with turn_given_up():
                while (left_s := look_again_at - asyncio.get_running_loop().time()) > 0:
                    if any(event.is_final for event in await watcher.wait(left_s)):
                        break
            if asyncio.get_running_loop().time() >= give_up_at:
                return False
