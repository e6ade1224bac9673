"""
The drop-in: `POST /api/v5/pix2pix` and `POST /api/v3/fetch/{job_id}`, with the bodies of the endpoint's own API.

A client of the endpoint only changes the host and the key. An error has HTTP status 200 and `status: error`, as at the
endpoint. Fields that the endpoint does not document are passed on to it. A request waits up to `drop_in_wait_s` seconds
for the image. After that the answer is `processing`, with the URL from which the client can fetch the image.
"""

from __future__ import annotations

import time

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from retouch.errors import InvalidEdit, QueueFull
from retouch.states import JobState
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey
from retouch_producer.documents import Document
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.enqueue.request import read_request
from retouch_producer.gateway.events.job_wait import wait_until_final
from retouch_producer.gateway.http.auth import may_see, require_allowed
from retouch_producer.gateway.http.body import SINGLE_MOST, parse_object, read_body
from retouch_producer.gateway.http.errors import ProblemError, Responses, problem_of
from retouch_producer.gateway.http.request_turns import take_turn

NUMBERS = {"steps": int, "guidance_scale": float, "image_guidance_scale": float}
_FIELDS = ("prompt", "init_image", *NUMBERS)
_ETA_S = 5.0

router = APIRouter(tags=["drop-in"])
_BODY = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
_EDIT_BODY = {
    "type": "object",
    "properties": {
        "key": {"type": "string", "description": "A Retouch key."},
        "prompt": {"type": "string"},
        "init_image": {"type": "string"},
        "image_guidance_scale": {"type": "number", "default": 1},
        "steps": {"type": "integer", "default": 20},
        "guidance_scale": {"type": "number", "default": 7},
    },
    "required": ["key", "prompt", "init_image"],
}
_REPLY = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "enum": ["success", "processing", "failed", "error"]},
        "id": {"type": "string"},
        "output": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "generationTime": {"type": "number"},
        "fetch_result": {"type": "string"},
        "eta": {"type": "number"},
        "retry_after": {"type": "number"},
        "messege": {"type": "string"},
        "message": {"anyOf": [{"type": "string"}, {"type": "object"}]},
        "tip": {"type": "string"},
        "meta": {"type": "object"},
    },
    "required": ["status"],
}
_REPLIES: Responses = {
    200: {"description": "The answer in the endpoint's own form.", "content": {"application/json": {"schema": _REPLY}}}
}


def _openapi_body(schema: Document) -> Document:
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}, "security": []}


@router.post("/api/v5/pix2pix", operation_id="pix2pix", responses=_REPLIES, openapi_extra=_openapi_body(_EDIT_BODY))
async def pix2pix(request: Request, dependencies: Injected) -> JSONResponse:
    """Edit a picture, with the request and answer of the endpoint's own API; `key` is a Retouch key."""
    try:
        return JSONResponse(await _edit(request, dependencies))
    except Exception as error:  # noqa: BLE001 - clients of the endpoint know only this form of error
        return JSONResponse(_error(error))


@router.post("/api/v3/fetch/{job_id}", operation_id="fetch", responses=_REPLIES, openapi_extra=_openapi_body(_BODY))
async def fetch(job_id: str, request: Request, dependencies: Injected) -> JSONResponse:
    """Return links to the images of an edit, or its state while it has none. This costs nothing and may be repeated."""
    try:
        body = parse_object(await read_body(request, SINGLE_MOST))
        key = await _key_of(body, request, dependencies)
        record = await run_in_threadpool(_record, dependencies, job_id, key)
        return JSONResponse(_reply(record, dependencies) if record else _not_found())
    except Exception as error:  # noqa: BLE001 - clients of the endpoint know only this form of error
        return JSONResponse(_error(error))


async def _edit(request: Request, dependencies: Dependencies) -> Document:
    # Counted from here, so that the caller's wait includes the time to read the body.
    give_up_at = time.monotonic() + dependencies.settings.drop_in_wait_s
    body = parse_object(await read_body(request, SINGLE_MOST))
    key = await _key_of(body, request, dependencies)
    edit_request = read_request(
        _request_fields(body), key, dependencies.settings, request.headers.get("idempotency-key", "")
    )
    # Clients of the endpoint may name pictures that only the endpoint can reach.
    [result] = await dependencies.enqueue_service.enqueue([edit_request], lenient=True)
    if result.error:
        raise result.error
    await wait_until_final(
        dependencies.event_hub, dependencies.connections.jobs, result.id, max(give_up_at - time.monotonic(), 0.0)
    )
    record = await run_in_threadpool(_record, dependencies, result.id, key)
    return _reply(record, dependencies) if record else _not_found()


async def _key_of(body: Document, request: Request, dependencies: Dependencies) -> ApiKey:
    secret = body.get("key")
    key = await dependencies.key_cache.find(secret) if isinstance(secret, str) else None
    if key is None:
        raise ProblemError("unauthorized", "the key in the body is not a valid Retouch key")
    require_allowed(key, request)
    await take_turn(key.tenant)
    return key


def _request_fields(body: Document) -> Document:
    """Return the fields of a `/v1` request from a body of the endpoint's API."""
    # The endpoint's clients send numbers as text too, and parameters that it does not document.
    values = {name: body[name] for name in _FIELDS if body.get(name) not in (None, "")}
    for name, kind in NUMBERS.items():
        if isinstance(values.get(name), str):
            try:
                values[name] = kind(values[name])
            except ValueError:
                continue
    extra = {name: value for name, value in body.items() if name not in ("key", *_FIELDS) and value is not None}
    return {**values, "extra": extra} if extra else values


def _record(dependencies: Dependencies, job: str, key: ApiKey) -> JobRecord | None:
    with clear_errors():
        record = dependencies.connections.jobs.record(job)
    return record if record and may_see(key, record.spec.tenant) else None


def _reply(record: JobRecord, dependencies: Dependencies) -> Document:
    if record.images and record.finished_at:
        took_s = record.finished_at - (record.started_at or record.created_at)
        links = [dependencies.blobs.link(image.name) for image in record.images]
        output = links if len(links) > 1 else links[0]
        return {"status": "success", "generationTime": round(took_s, 3), "id": record.id, "output": output}
    if JobState(record.state).is_final:
        message = record.error.message if record.error else "The request was cancelled"
        return {"status": "failed", "id": record.id, "message": message, "output": ""}
    # `messege` is the endpoint's own spelling, which its clients read.
    return {
        "status": "processing",
        "tip": "Fetch the image from fetch_result, with your key in the body",
        "eta": _ETA_S,
        "messege": "Try to fetch request after given estimated time",
        "fetch_result": f"{dependencies.settings.public_url.rstrip('/')}/api/v3/fetch/{record.id}",
        "id": record.id,
        "output": "",
        "meta": {name: value for name, value in record.spec.edit.items() if name in NUMBERS},
    }


def _not_found() -> Document:
    return {"status": "failed", "id": "", "message": "Request not found", "output": ""}


def _error(error: Exception) -> Document:
    """Return the body that the endpoint would send for an error."""
    if isinstance(error, InvalidEdit):
        faults: dict[str, list[str]] = {}
        for field, fault in error.faults:
            faults.setdefault(field, []).append(fault)
        return {"status": "error", "message": faults}
    if isinstance(error, QueueFull):
        message = "Rate limit exceeded. Maximum queued requests reached."
        return {"status": "error", "message": message, "tip": str(error), "retry_after": error.retry_after_s}
    problem = problem_of(error)
    messages = {
        "unauthorized": "Invalid Api Key",
        "input-unreadable": "Unable to fetch image from provided URL",
        "store-unavailable": "Service temporarily unavailable. Please try again later.",
        "image-store-unavailable": "Service temporarily unavailable. Please try again later.",
    }
    return {"status": "error", "message": messages.get(problem.name, "Invalid API Request"), "tip": problem.detail}
