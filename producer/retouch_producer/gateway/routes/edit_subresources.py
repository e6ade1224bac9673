"""The parts of one job: `/image`, `/thumbnail`, `/input` and `/timeline`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from retouch.blobs import thumbnail_name
from retouch.events import Event, event_object, queued_event
from retouch.outcomes import OUTPUTS_MOST
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey
from retouch_producer.documents import charge_document, delivery_document, raw_answer_document
from retouch_producer.findings.job_wait import wait_of
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import Caller
from retouch_producer.gateway.http.errors import ProblemError, problem_responses
from retouch_producer.gateway.routes.files import IMAGE_RESPONSES, IfNoneMatch, serve_blob
from retouch_producer.gateway.schemas import events as event_schemas

router = APIRouter(prefix="/v1/edits/{job_id}", tags=["edits"])
_RESPONSES = {**IMAGE_RESPONSES, **problem_responses(401, 404, 409, 422, 429, 503)}
ImageIndex = Annotated[int, Query(ge=0, le=OUTPUTS_MOST, description="The image's index in `results`, from 0.")]


@router.get("/image", operation_id="read_image", response_class=Response, responses=_RESPONSES)
async def read_image(
    job_id: str, key: Caller, dependencies: Injected, index: ImageIndex = 0, if_none_match: IfNoneMatch = ""
) -> Response:
    """Return the edited image; 409 while the job has none."""
    name = await run_in_threadpool(_image_name, dependencies, job_id, key, index)
    return await serve_blob(dependencies, key.tenant, name, if_none_match)


@router.get("/thumbnail", operation_id="read_thumbnail", response_class=Response, responses=_RESPONSES)
async def read_thumbnail(
    job_id: str, key: Caller, dependencies: Injected, index: ImageIndex = 0, if_none_match: IfNoneMatch = ""
) -> Response:
    """Return a thumbnail: a WebP of at most 256 pixels a side, made on the first request."""
    name = await run_in_threadpool(_image_name, dependencies, job_id, key, index)
    return await serve_blob(dependencies, key.tenant, thumbnail_name(name), if_none_match)


@router.get("/input", operation_id="read_input", response_class=Response, responses=_RESPONSES)
async def read_input(job_id: str, key: Caller, dependencies: Injected, if_none_match: IfNoneMatch = "") -> Response:
    """Return the input picture as it was when the job was accepted."""
    record = await run_in_threadpool(dependencies.record, job_id, key)
    if not record.spec.input:
        raise ProblemError("not-found", "no copy of this job's input was kept when the job was accepted")
    return await serve_blob(dependencies, key.tenant, record.spec.input, if_none_match)


def _image_name(dependencies: Dependencies, job: str, key: ApiKey, index: int) -> str:
    record = dependencies.record(job, key)
    if not record.images:
        raise ProblemError("no-image-yet", f"the job is {record.state}", retryable=record.state != "failed")
    if index >= len(record.images):
        raise ProblemError("not-found", f"index: expected a number below {len(record.images)}, got {index}")
    return record.images[index].name


@router.get(
    "/timeline",
    operation_id="read_timeline",
    response_model=event_schemas.Timeline,
    responses=problem_responses(401, 404, 422, 503),
)
def read_timeline(job_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """
    Return all that is on record about a job: its events, its charges, the endpoint's last answer, its deliveries with
    every attempt; and why it waits, if it does.
    """
    record = dependencies.record(job_id, key)
    with clear_errors():
        deliveries = dependencies.connections.deliveries.of_job(job_id)
        wait = wait_of(record, dependencies.connections)
        return JSONResponse(
            {
                "job": dependencies.job_document(record),
                "wait": wait.document if wait else None,
                "events": events_of(record, dependencies),
                "charges": [charge_document(charge) for charge in record.charges],
                "raw_answer": raw_answer_document(dependencies.connections.jobs.raw_answer(job_id)),
                "deliveries": [delivery_document(delivery) for delivery in deliveries],
            }
        )


def events_of(record: JobRecord, dependencies: Dependencies, after: int = -1) -> list[Event]:
    """Return a job's events with a sequence number above `after`, in order; number 0 is always `edit.queued`."""
    price = dependencies.settings.price_per_call
    entries = dependencies.connections.jobs.timeline(record.id, max(after, 0))
    first = [queued_event(record, price)] if after < 0 else []
    return [*first, *(event_object(record, entry, dependencies.blobs.link, price) for entry in entries)]
