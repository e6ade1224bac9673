"""
Sends the pictures of a job to browsers with an open session.

The gateway itself reads and sends a picture, even if the picture is in a bucket.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Response
from starlette.concurrency import run_in_threadpool

from retouch.blobs import thumbnail_name
from retouch_producer.gateway.console.routing import console_router
from retouch_producer.gateway.console.visitors import SignedIn
from retouch_producer.gateway.dependencies import Injected
from retouch_producer.gateway.http.errors import ProblemError
from retouch_producer.gateway.routes import edit_subresources
from retouch_producer.gateway.routes.files import serve_blob

router = console_router()
IfNoneMatch = Annotated[str, Header()]


@router.get("/jobs/{job_id}/image/{index}")
async def show_image(
    job_id: str, index: int, visitor: SignedIn, dependencies: Injected, if_none_match: IfNoneMatch = ""
) -> Response:
    """Send one edited image of a job."""
    return _checked_again(await edit_subresources.read_image(job_id, visitor.key, dependencies, index, if_none_match))


@router.get("/jobs/{job_id}/thumbnail/{index}")
async def show_thumbnail(
    job_id: str, index: int, visitor: SignedIn, dependencies: Injected, if_none_match: IfNoneMatch = ""
) -> Response:
    """Send the thumbnail of one edited image of a job."""
    return _checked_again(
        await edit_subresources.read_thumbnail(job_id, visitor.key, dependencies, index, if_none_match)
    )


@router.get("/jobs/{job_id}/input")
async def show_input(
    job_id: str, visitor: SignedIn, dependencies: Injected, if_none_match: IfNoneMatch = ""
) -> Response:
    """Send the input picture of a job."""
    return _checked_again(await edit_subresources.read_input(job_id, visitor.key, dependencies, if_none_match))


@router.get("/jobs/{job_id}/input/thumbnail")
async def show_input_thumbnail(
    job_id: str, visitor: SignedIn, dependencies: Injected, if_none_match: IfNoneMatch = ""
) -> Response:
    """Send the thumbnail of the input picture of a job."""
    record = await run_in_threadpool(dependencies.record, job_id, visitor.key)
    if not record.spec.input:
        raise ProblemError("not-found", "this job's picture was not kept when it was accepted")
    return _checked_again(
        await serve_blob(dependencies, visitor.key.tenant, thumbnail_name(record.spec.input), if_none_match)
    )


def _checked_again(response: Response) -> Response:
    """Make the browser ask again before each use of a picture, since another person may use the browser later."""
    response.headers["Cache-Control"] = "private, no-cache"
    return response
