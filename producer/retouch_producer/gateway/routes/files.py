"""`/files/{name}`: images, for holders of a signed link and for API keys of a tenant that owns the image."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from retouch.blobs import BlobMissing, BlobStore, image_names, is_thumbnail
from retouch.images.thumbnails import thumbnail_of
from retouch.store.blob_retention import owns_blob
from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import authenticate
from retouch_producer.gateway.http.errors import ProblemError, Responses, problem_responses
from retouch_producer.gateway.http.request_turns import give_up_turn
from retouch_producer.gateway.http.roles import sees_all

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}
FILE_HEADERS = {
    # The name is a hash of the bytes, so the content of a name never changes.
    "Cache-Control": "private, max-age=31536000, immutable",
    # A browser must never run bytes that a user supplied, only show them as an image.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
IMAGE_RESPONSES: Responses = {
    200: {
        "description": "The image.",
        "content": {kind: {} for kind in (*sorted({*MEDIA_TYPES.values()}), "application/octet-stream")},
    },
    304: {"description": "The caller has the image with this ETag."},
}
NOT_FOUND = "no image has this name: it was never stored, its retention is over, or it belongs to another tenant"
IfNoneMatch = Annotated[str, Header(description="An ETag that the caller has: 304 when it is still the image's.")]
Expires = Annotated[str, Query(description="When the link expires, in Unix seconds: a part of every signed link.")]
Signature = Annotated[str, Query(description="The signature: a part of every signed link.")]
_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey")

router = APIRouter(tags=["files"])


# Answers HEAD as well; the description lists GET alone.
@router.api_route("/files/{name:path}", methods=["GET", "HEAD"], response_class=Response, include_in_schema=False)
@router.get(
    "/files/{name:path}",
    operation_id="read_file",
    response_class=Response,
    responses={**IMAGE_RESPONSES, **problem_responses(401, 403, 404, 422, 429, 503)},
)
async def read_file(
    name: str,
    request: Request,
    dependencies: Injected,
    if_none_match: IfNoneMatch = "",
    expires: Expires = "",
    signature: Signature = "",
) -> Response:
    """
    Return an image. A signed link needs no key, but expires.

    Without a signature, the request needs a key of a tenant that owns the image, or of a role that sees all tenants.
    """
    tenant = ""
    if not signature:
        key = await authenticate(request, await _bearer(request))
        if not await run_in_threadpool(_may_read, dependencies, key, name):
            raise ProblemError("not-found", NOT_FOUND)
        tenant = key.tenant
    elif not await run_in_threadpool(_is_signed, dependencies, name, expires, signature):
        raise ProblemError("forbidden", "this link has expired or was altered; read the job again for a fresh link")
    return await serve_blob(dependencies, tenant, name, if_none_match)


def _may_read(dependencies: Dependencies, key: ApiKey, name: str) -> bool:
    with clear_errors():
        return sees_all(key.role) or owns_blob(dependencies.client, key.tenant, name)


def _is_signed(dependencies: Dependencies, name: str, expires: str, signature: str) -> bool:
    with clear_errors():
        return dependencies.signer.verify(name, expires, signature)


async def serve_blob(dependencies: Dependencies, tenant: str, name: str, if_none_match: str = "") -> Response:
    """
    Return an answer with a blob's bytes, or 304 if the caller has them. A thumbnail is made on the first request for
    it.

    The number of reads that each `tenant` may have at the same time is limited. All holders of links together count as
    the tenant "". Raises the problem `not-found`.
    """
    await give_up_turn()
    return await dependencies.files.run(tenant, _read, dependencies, tenant, name, if_none_match)


def _read(dependencies: Dependencies, tenant: str, name: str, if_none_match: str) -> Response:
    blobs = dependencies.blobs
    etag = f'"{name.rpartition("/")[2]}"'
    try:
        if etag in if_none_match and blobs.exists(name):
            return Response(status_code=304, headers=FILE_HEADERS | {"ETag": etag})
        data = _bytes_of(blobs, name, dependencies.decoding.hold(tenant))
    except (BlobMissing, ValueError):
        raise ProblemError("not-found", NOT_FOUND) from None
    media_type = MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    return Response(data, media_type=media_type, headers=FILE_HEADERS | {"ETag": etag})


def _bytes_of(blobs: BlobStore, name: str, turn: AbstractContextManager[None]) -> bytes:
    try:
        return blobs.get(name)
    except BlobMissing:
        if not is_thumbnail(name):
            raise
    return blobs.get(thumbnail_of(blobs, _whole_of(blobs, name), turn))


def _whole_of(blobs: BlobStore, thumbnail: str) -> str:
    """Return the name of the stored image that a thumbnail is made from. Raises `BlobMissing`."""
    for name in image_names(thumbnail):
        if blobs.exists(name):
            return name
    raise BlobMissing(thumbnail)
