"""The route class of the console: the cross-site check, bounded forms, security headers, and errors as pages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute

from retouch_producer.gateway.console.cross_site import refuse_cross_site
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.visitors import SignedOut
from retouch_producer.gateway.http.body import JSON_WITHIN_S
from retouch_producer.gateway.http.errors import KINDS, ProblemError, problem_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With `no-referrer` browsers would send `Origin: null`, and the cross-site check would refuse our own forms.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

FORM_MOST = 16 * 1024
_CLOSE = {"Connection": "close"}

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ConsoleRoute(APIRoute):
    """
    A route of the console, with the cross-site check and the security headers for every handler.

    A form may have at most `form_most` bytes, and must have one of the media types in `form_types`.
    """

    form_most = FORM_MOST
    form_types: tuple[str, ...] = ("application/x-www-form-urlencoded",)

    def get_route_handler(self) -> Handler:
        """
        Return a handler that checks the request and then calls the route's own handler.

        The returned handler also turns errors into pages, and adds the security headers to each answer.
        """
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            try:
                refuse_cross_site(request)
                await _read_form(request, self.form_most, self.form_types)
                response = await handle(request)
            except SignedOut as error:
                response = _to_sign_in(request, error)
            except Exception as error:  # noqa: BLE001 - `problem_of` logs what is unexpected; a person gets a page
                response = error_page(request, problem_of(error))
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            return response

        return guarded


async def _read_form(request: Request, most: int, types: tuple[str, ...]) -> None:
    """
    Read the body of a form within limits of size and time.

    The parser of forms has no limits, and the sign-in takes forms from callers without a key. Raises `too-large`,
    `slow-body` and `unsupported-media-type`.
    """
    length = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers or not length.isdecimal() or int(length[:18]) > most:
        raise ProblemError("too-large", f"expected a form of at most {most:,} bytes", headers=_CLOSE)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if int(length) and kind not in types:
        raise ProblemError("unsupported-media-type", f"expected {' or '.join(types)}", headers=_CLOSE)
    try:
        async with asyncio.timeout(JSON_WITHIN_S):
            await request.body()
    except TimeoutError:
        detail = f"expected the whole form within {JSON_WITHIN_S:g} s"
        raise ProblemError("slow-body", detail, headers=_CLOSE) from None


def _to_sign_in(request: Request, error: SignedOut) -> Response:
    if "hx-request" in request.headers:
        return Response(status_code=401, headers={"HX-Redirect": error.sign_in})
    return RedirectResponse(error.sign_in, 303)


def error_page(request: Request, problem: ProblemError) -> Response:
    """Return the page that explains a problem, with the problem's HTTP status and headers."""
    kind = KINDS[problem.name]
    response = page(request, "problem.html", None, status=problem.status, problem=problem, kind=kind)
    response.headers.update(problem.answer_headers())
    return response


def console_router(route_class: type[ConsoleRoute] = ConsoleRoute) -> APIRouter:
    """Return a router for pages below `/console`. The OpenAPI description leaves these pages out."""
    return APIRouter(prefix="/console", route_class=route_class, include_in_schema=False)


def done(target: str, note: str = "") -> RedirectResponse:
    """Return a redirect from a form to the page `target`. The page then shows `note`, the outcome of the form."""
    joint = "&" if "?" in target else "?"
    return RedirectResponse(f"{target}{joint}done={note}" if note else target, 303)
