"""Refuses a request that may change something, unless a page of this console sent it."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from retouch_producer.gateway.http.errors import ProblemError

_SAFE = ("GET", "HEAD")


def refuse_cross_site(request: Request) -> None:
    """
    Raise `forbidden` for a request that may change something, unless a page of this console sent it.

    Browsers name the source of a request in `Sec-Fetch-Site`. Browsers from before 2023 name it only in `Origin`. A
    request with neither header is not from a browser. It is refused too, since programs use `/v1`.
    """
    if request.method not in _SAFE and not _is_own(request):
        detail = "the request did not come from a page of this console; nothing was done. Open the page and try again"
        raise ProblemError("forbidden", detail)


def _is_own(request: Request) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get("origin", ""))
    return bool(origin.netloc) and origin.netloc == request.headers.get("host")
