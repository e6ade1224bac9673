"""`/v1/uploads`: stores a picture under a URL that can be used as init_image."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from python_multipart.multipart import Field, File, create_form_parser

from retouch.events import iso
from retouch.images.validation import ImageFault, ImageLimits, check
from retouch.store.blob_retention import keep_blob
from retouch.store.redis_client import clear_errors
from retouch_producer.documents import Document
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import Caller
from retouch_producer.gateway.http.body import UPLOAD_MOST, UPLOAD_WITHIN_S, read_body
from retouch_producer.gateway.http.errors import ProblemError, invalid, problem_responses
from retouch_producer.gateway.http.request_turns import give_up_turn
from retouch_producer.gateway.schemas import edits as edit_schemas

KEPT_S = 7 * 86_400.0
_FRAMING_MOST, _PARTS_MOST = 4_096, 100

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
_BINARY: Document = {"schema": {"type": "string", "format": "binary"}}
_FORM: Document = {
    "schema": {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
        "required": ["file"],
    }
}
_KINDS = ("image/png", "image/jpeg", "image/webp", "application/octet-stream")
_BODY = {"required": True, "content": {"multipart/form-data": _FORM, **dict.fromkeys(_KINDS, _BINARY)}}


@router.post(
    "",
    operation_id="upload_picture",
    status_code=201,
    response_model=edit_schemas.Upload,
    openapi_extra={"requestBody": _BODY},
    responses=problem_responses(400, 401, 408, 413, 415, 422, 429, 503),
)
async def upload(request: Request, key: Caller, dependencies: Injected) -> JSONResponse:
    """
    Store a PNG, JPEG or WebP picture of up to 50 MB and 40 megapixels, sent as the body or as a file in a form.

    The URL is valid for a week. A job that uses it keeps the picture for as long as the job needs it.
    """
    media_type = request.headers.get("content-type", "").strip()
    # A slow upload must not block the tenant's other requests.
    await give_up_turn()
    async with dependencies.upload_limiter.hold(key.tenant):
        # A form adds boundaries and headers to the file.
        body = await read_body(request, UPLOAD_MOST + _FRAMING_MOST, UPLOAD_WITHIN_S)
        return JSONResponse(
            await dependencies.uploads.run(key.tenant, _keep, body, media_type, dependencies, key.tenant), 201
        )


def _keep(body: bytes, media_type: str, dependencies: Dependencies, tenant: str) -> Document:
    if media_type.lower().startswith("multipart/form-data"):
        body = _file_in_form(body, media_type)
    elif media_type.partition(";")[0].strip().lower() not in _KINDS:
        raise ProblemError("unsupported-media-type", f"expected multipart/form-data or one of {', '.join(_KINDS)}")
    with dependencies.decoding.hold(tenant):
        picture = check(body, replace(ImageLimits(), max_bytes=UPLOAD_MOST))
    if isinstance(picture, ImageFault):
        raise invalid([("file", picture.message)])
    name = dependencies.blobs.put(body, picture.suffix)
    with clear_errors():
        keep_blob(dependencies.client, name, KEPT_S, tenant)
        url = dependencies.blobs.link(name, KEPT_S)
    return {
        "url": url,
        "sha256": picture.sha256,
        "width": picture.width,
        "height": picture.height,
        "bytes": picture.bytes,
        "format": picture.format,
        "expires_at": iso(math.floor(time.time() + KEPT_S)),
    }


def _file_in_form(body: bytes, media_type: str) -> bytes:
    """Return the bytes of the first file in a form. Raises the problems `malformed-body` and `invalid-request`."""
    parts: list[File | Field] = []

    def take(part: File | Field) -> None:
        # Without a bound, a form of a million empty parts would take six seconds to parse.
        if len(parts) == _PARTS_MOST:
            raise ValueError(f"expected at most {_PARTS_MOST} parts")
        parts.append(part)

    in_memory = {
        "MAX_MEMORY_FILE_SIZE": len(body)
    }  # the body is in memory already; a copy on disk would only cost time
    try:
        parser = create_form_parser({"Content-Type": media_type.encode("latin-1")}, take, take, in_memory)
        parser.write(body)
    except ValueError:
        raise ProblemError("malformed-body", "expected a form of type multipart/form-data") from None
    file = next((part.file_object for part in parts if isinstance(part, File)), None)
    if file is None:
        raise invalid([("file", "expected a part with a file name, got none")])
    file.seek(0)
    return file.read()
