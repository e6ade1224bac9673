"""The check that a request which changes something was sent by a page of this console."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

from retouch_producer.gateway.http.errors import ProblemError

_SAFE = ("GET", "HEAD")


def refuse_cross_site(request: Request) -> None:
    """
    Raise `forbidden` for an unsafe request of another site.

    Browsers say where a request comes from in `Sec-Fetch-Site`; those before 2023 send `Origin` alone. A request with
    neither is refused: no browser sends one, and programs have `/v1`.
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
