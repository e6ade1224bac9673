"""`/v1/uploads`: a picture that is nowhere on the web becomes a URL that can be used as init_image."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from email.message import Message
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from python_multipart.multipart import MultipartParser

from producer.documents import Document
from producer.gateway import shapes
from producer.gateway.access import Caller
from producer.gateway.problems import ProblemError, documented, invalid
from producer.gateway.reading import UPLOAD_MOST, UPLOAD_WITHIN_S, read_body
from producer.gateway.request_turns import give_up_turn
from producer.gateway.tools import GatewayTools, Tools
from retouch.events import iso
from retouch.outside.pictures import PictureFault, PictureLimits, check
from retouch.store.connect import clear_errors
from retouch.store.kept import keep_blob

KEPT_S = 7 * 86_400.0
_FRAMING_MOST = 4_096

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_FORM: dict[str, Any] = {
    "schema": {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary"}},
        "required": ["file"],
    }
}
_KINDS = ("image/png", "image/jpeg", "image/webp", "application/octet-stream")


@router.post(
    "", operation_id="upload_picture", status_code=201, response_model=shapes.Upload,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": _FORM, **dict.fromkeys(_KINDS, _BINARY)},
        }
    },
    responses=documented(400, 401, 408, 413, 415, 422, 429, 503),
)  # fmt: skip
async def upload(request: Request, key: Caller, tools: Tools) -> JSONResponse:
    """
    Keep a PNG, JPEG or WebP picture of up to 50 MB and 40 megapixels; the file itself, or one in a form.

    The URL lives for a week; jobs that use it keep its picture for as long as they need it.
    """
    kind = request.headers.get("content-type", "").strip()
    await give_up_turn()
    async with tools.upload_turns.of(key.tenant):
        body = await read_body(request, UPLOAD_MOST + _FRAMING_MOST, UPLOAD_WITHIN_S)
        return JSONResponse(await tools.uploads.run(key.tenant, _keep, body, kind, tools, key.tenant), 201)


def _keep(body: bytes, kind: str, tools: GatewayTools, tenant: str) -> Document:
    if kind.lower().startswith("multipart/form-data"):
        body = _file_in_form(body, kind)
    elif kind.partition(";")[0].strip().lower() not in _KINDS:
        raise ProblemError("unsupported-media-type", f"expected multipart/form-data or one of {', '.join(_KINDS)}")
    with tools.decoding.hold(tenant):
        picture = check(body, replace(PictureLimits(), max_bytes=UPLOAD_MOST))
    if isinstance(picture, PictureFault):
        raise invalid([("file", picture.message)])
    name = tools.blobs.put(body, picture.suffix)
    with clear_errors():
        keep_blob(tools.client, name, KEPT_S, tenant)
        url = tools.blobs.link(name, KEPT_S)
    return {
        "url": url,
        "sha256": picture.sha256,
        "width": picture.width,
        "height": picture.height,
        "bytes": picture.bytes,
        "format": picture.format,
        "expires_at": iso(math.floor(time.time() + KEPT_S)),
    }


def _file_in_form(body: bytes, kind: str) -> bytes:
    """Give the bytes of the form's first part that is a file."""
    headers = Message()
    headers["Content-Type"] = kind
    boundary = headers.get_param("boundary")
    parts = _Parts()
    try:
        parser = MultipartParser(str(boundary or "").encode("latin-1"), callbacks=parts.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except (ValueError, UnicodeError):
        raise ProblemError("malformed-body", "expected a form of type multipart/form-data") from None
    if parts.file is None:
        raise invalid([("file", "expected a part with a file, got none")])
    return bytes(parts.file)


class _Parts:
    """Collects the first part that has a file name."""

    def __init__(self) -> None:
        self.file: bytearray | None = None
        self._field, self._value, self._is_file, self._done = b"", b"", False, False

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
        }

    def _begin(self) -> None:
        self._is_file = False

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        is_disposition = self._field.lower() == b"content-disposition"
        if is_disposition and b"filename" in self._value.lower() and not self._done:
            self._is_file, self.file = True, bytearray()
        self._field, self._value = b"", b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file and self.file is not None:
            self.file += data[start:end]

    def _end(self) -> None:
        self._done = self._done or self._is_file
