"""
Captures the pictures of requests, then enqueues the jobs.

The script `enqueue.lua` decides whether a request gets a new job or an earlier one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cachetools import TTLCache
from starlette.concurrency import run_in_threadpool

from retouch.batches import batched
from retouch.connections import Connections
from retouch.store.jobs import EnqueueResult, NewJob, refused
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.enqueue.batcher import EnqueueBatcher
from retouch_producer.gateway.enqueue.input_capture import InputCapture
from retouch_producer.gateway.enqueue.request import EnqueueRequest
from retouch_producer.gateway.http.errors import ProblemError
from retouch_producer.gateway.http.request_turns import turn_given_up

_KNOWN_FOR_S = 2.0  # a job may be enqueued for a receiver that was removed less than this time ago
_KNOWN_MOST = 10_000
_PREPARED_MOST = 100


class EnqueueService:
    """Enqueues the requests of one gateway process."""

    def __init__(self, connections: Connections, input_capture: InputCapture) -> None:
        self._connections, self._input_capture, self._settings = connections, input_capture, connections.settings
        self._batcher = EnqueueBatcher(connections.jobs, connections.publisher, connections.tracing)
        self._known_receivers: TTLCache[tuple[str, str], bool] = TTLCache(_KNOWN_MOST, _KNOWN_FOR_S)

    async def enqueue(self, requests: Sequence[EnqueueRequest], *, lenient: bool = False) -> list[EnqueueResult]:
        """
        Enqueue requests, a hundred at a time, and return one result for each, in order.

        Each request is accepted or refused on its own. With `lenient`, a job is enqueued even if its picture cannot be
        fetched now. The endpoint then gets the original URL. If the endpoint cannot read the picture either, the job is
        refused without a charge.
        """
        results: list[EnqueueResult] = []
        async with turn_given_up():
            # Each hundred ends before the next begins: a large batch must not occupy the threads that tenants share.
            for part in batched(requests, _PREPARED_MOST):
                results += await self._enqueue_part(part, lenient)
        return results

    async def _enqueue_part(self, requests: Sequence[EnqueueRequest], lenient: bool) -> list[EnqueueResult]:
        prepared = await asyncio.gather(*(self._prepare(request, lenient) for request in requests))
        results = iter(await self._batcher.enqueue([item for item in prepared if isinstance(item, NewJob)]))
        return [next(results) if isinstance(item, NewJob) else item for item in prepared]

    async def _prepare(self, request: EnqueueRequest, lenient: bool) -> NewJob | EnqueueResult:
        """
        Capture the picture of a request, and return the job to enqueue.

        Return a result instead if the request has an earlier job or is refused.
        """
        try:
            if request.new.idempotency_key and self._is_captured(request):
                # A repeated request does not need its picture, which may be gone by now.
                [earlier] = await self._batcher.enqueue([request.new._replace(spec_json="")])
                if earlier.kind != "absent":
                    return earlier
            new = await self._capture(request, lenient)
            await self._ensure_receiver(request)
        except Exception as error:  # noqa: BLE001 - each request is answered on its own
            return refused(error)
        return new

    def _is_captured(self, request: EnqueueRequest) -> bool:
        return self._settings.capture_input != "off" or bool(self._input_capture.name_of(request.edit.init_image))

    async def _capture(self, request: EnqueueRequest, lenient: bool) -> NewJob:
        if not self._is_captured(request):
            return request.new
        url = request.edit.init_image
        try:
            captured = await self._input_capture.capture(
                url, request.tenant, request.new.deadline_s + self._settings.retention_s
            )
        except ProblemError as problem:
            if lenient and problem.retryable:
                return request.new
            raise
        sends_our_link = captured.is_ours or self._settings.capture_input == "ours"
        return request.with_input(captured.link if sends_our_link else url, captured.blob, captured.sha256)

    async def _ensure_receiver(self, request: EnqueueRequest) -> None:
        # The job names its receiver, so the receiver must exist before the job does.
        receiver = request.tenant, request.options.webhook
        if not request.options.webhook or receiver in self._known_receivers:
            return
        with clear_errors():
            await run_in_threadpool(self._connections.receivers.ensure, *receiver)
        self._known_receivers[receiver] = True
