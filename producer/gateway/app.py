"""The gateway as a function of settings; it connects to Redis and the blob store when first asked for something."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import redis
from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHttpException

from retouch.blobs import BlobError, BlobMissing, open_blobs
from retouch.settings import Settings
from retouch.store.connect import connect

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "webp": "image/webp"}
FILE_HEADERS = {
    # The name is made from the bytes: what it names can go, and never change.
    "Cache-Control": "public, max-age=31536000, immutable",
    # Bytes that a user supplied are shown as an image or not at all.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


def make_gateway(settings: Settings) -> FastAPI:
    """Make the application; its pages `/docs` and `/openapi.json` describe it."""
    app = FastAPI(title="Retouch", version=version("retouch"), summary="A durable queue in front of pix2pix.")
    app.add_exception_handler(AnyHttpException, _problem)
    _add_health(app, settings)
    _add_files(app, settings)
    return app


def _add_health(app: FastAPI, settings: Settings) -> None:
    client = connect(settings, tries=0)

    @app.get("/healthz", tags=["health"])
    def healthz() -> dict[str, str]:
        """Whether this process runs."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["health"])
    def readyz() -> dict[str, str]:
        """Whether it can do its work: Redis answers."""
        try:
            client.ping()
        except redis.RedisError:
            raise HTTPException(503, "Redis does not answer; jobs are kept and nothing can be enqueued") from None
        return {"status": "ok"}


def _add_files(app: FastAPI, settings: Settings) -> None:
    blobs = open_blobs(settings.store, settings.public_url)

    @app.api_route("/files/{name:path}", methods=["GET", "HEAD"], tags=["files"], response_class=Response)
    def file(name: str, if_none_match: Annotated[str, Header()] = "") -> Response:
        """An image by its name; the unguessable name is the credential."""
        etag = f'"{name.rpartition("/")[2]}"'
        try:
            if etag in if_none_match and blobs.exists(name):
                return Response(status_code=304, headers=FILE_HEADERS | {"ETag": etag})
            data = blobs.get(name)
        except (BlobMissing, ValueError):
            raise HTTPException(404, "no image has this name: it was never stored, or its retention is over") from None
        except BlobError:
            raise HTTPException(503, "the image store does not answer; trying again is safe") from None
        media_type = MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
        return Response(data, media_type=media_type, headers=FILE_HEADERS | {"ETag": etag})


def _problem(_request: Request, error: Exception) -> JSONResponse:
    """An error as RFC 9457 problem details."""
    assert isinstance(error, AnyHttpException)
    body = {
        "type": "about:blank",
        "status": error.status_code,
        "detail": error.detail,
        "retryable": error.status_code >= 500,
    }
    return JSONResponse(body, error.status_code, error.headers, media_type="application/problem+json")
