"""The router of everything below `/console`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from retouch_producer.gateway.console import (
    accounts,
    audit,
    bill,
    bulk,
    deliveries,
    job_list,
    job_page,
    live,
    overview,
    pictures,
    receivers,
    sign_in,
    tenants,
    workers,
)
from retouch_producer.gateway.console.assets import asset
from retouch_producer.gateway.console.routing import console_router
from retouch_producer.gateway.http.errors import not_found

_files = console_router()


@_files.get("/static/{name}")
async def read_asset(name: str, request: Request) -> Response:
    """Send a style sheet or script; browsers cache it for a year, since a changed file has a new address."""
    found = asset(name)
    if found is None:
        raise not_found("file")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(found.plain, media_type=found.content_type, headers=headers)
    return Response(found.compressed, media_type=found.content_type, headers={**headers, "Content-Encoding": "gzip"})


@_files.get("/{rest:path}")
async def read_nothing(rest: str) -> Response:  # noqa: ARG001 - the address, whatever it is
    """Answer an unknown address with the page for the problem `not-found`."""
    raise not_found("page")


PAGES = (
    *(sign_in, overview, live, job_list, pictures, job_page, deliveries, receivers, accounts, tenants, bill, workers),
    *(bulk, audit),
)

router = APIRouter()
for _page in PAGES:
    router.include_router(_page.router)
# Last, since its second address matches all others.
router.include_router(_files)
