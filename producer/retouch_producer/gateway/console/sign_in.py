"""Signs visitors in with an API key or with a link that works once, signs them out, and stores the chosen theme."""

from __future__ import annotations

import ipaddress
import logging
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Form, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from retouch.store.console_sessions import LIFE_S, WRONG_KEYS_WITHIN_S, ConsoleSessions
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.console.rendering import THEME_COOKIE, THEMES, page
from retouch_producer.gateway.console.routing import console_router
from retouch_producer.gateway.console.visitors import cookie_of, is_loopback
from retouch_producer.gateway.dependencies import Injected

log = logging.getLogger("retouch.gateway")
router = console_router()

_WRONG = "No key in use has this secret. Keys are made by `retouch keys create`; a revoked one never works again."
_SPENT = "This link was used before, or is older than an hour. `retouch up` prints a fresh one; a key works too."
_UNSAFE = "The console needs https: over plain http a browser keeps its cookie on this machine alone."
_YEAR_S = 365 * 86_400
_KEY_MOST = 200

Text = Annotated[str, Form()]


@router.get("/sign-in")
async def show_sign_in(request: Request, back: str = "/console") -> Response:
    """Show the form for an API key."""
    return page(request, "sign_in.html", None, target=own_path(back), fault="", link="")


@router.post("/sign-in")
async def sign_in(request: Request, dependencies: Injected, key: Text = "", back: Text = "/console") -> Response:
    """Begin a session for an API key. After ten wrong keys within a minute, the caller's address must wait."""
    target, sessions, address = own_path(back), ConsoleSessions(dependencies.client), _address(request)
    if not _keeps_cookie(request):
        return page(request, "sign_in.html", None, status=400, target=target, fault=_UNSAFE, link="")
    with clear_errors():
        wait_s = await run_in_threadpool(sessions.wait_s, address)
    if wait_s:
        return _wait(request, target, wait_s)
    secret = key.strip()
    if len(secret) > _KEY_MOST or await dependencies.key_cache.find(secret) is None:
        with clear_errors():
            await run_in_threadpool(sessions.note_wrong_key, address)
        return page(request, "sign_in.html", None, status=403, target=target, fault=_WRONG, link="")
    with clear_errors():
        session = await run_in_threadpool(sessions.begin, secret)
    return _signed_in(request, session, target)


def _wait(request: Request, target: str, wait_s: int) -> Response:
    log.warning("console_sign_in_waits")
    fault = f"Too many wrong keys from this address. The next one is taken in {wait_s} s."
    waiting = page(request, "sign_in.html", None, status=429, target=target, fault=fault, link="")
    waiting.headers["Retry-After"] = str(min(wait_s, WRONG_KEYS_WITHIN_S))
    return waiting


@router.get("/enter/{link}")
async def show_link(request: Request, link: str) -> Response:
    """
    Show a button that signs the visitor in.

    Opening the link does not sign in: the link works once, and some programs open links in advance.
    """
    return page(request, "sign_in.html", None, target="/console", fault="", link=link)


@router.post("/enter")
async def use_link(request: Request, dependencies: Injected, link: Text = "") -> Response:
    """Begin a session with a link that works once."""
    with clear_errors():
        session = await run_in_threadpool(ConsoleSessions(dependencies.client).use_link, link[:_KEY_MOST])
    if session is None:
        return page(request, "sign_in.html", None, status=403, target="/console", fault=_SPENT, link="")
    return _signed_in(request, session, "/console")


@router.post("/sign-out")
async def sign_out(request: Request, dependencies: Injected) -> Response:
    """End the session and clear the browser's cache of pictures."""
    with clear_errors():
        await run_in_threadpool(ConsoleSessions(dependencies.client).end, request.cookies.get(cookie_of(request), ""))
    response = RedirectResponse("/console/sign-in", 303, headers={"Clear-Site-Data": '"cache"'})
    response.delete_cookie(cookie_of(request), path="/", secure=not is_loopback(request), httponly=True)
    return response


@router.post("/theme")
async def choose_theme(theme: Text = "auto", back: Text = "/console") -> Response:
    """Store the chosen theme in a cookie: `dark`, `light`, or `auto` for the theme of the system."""
    response = RedirectResponse(own_path(back), 303)
    chosen = theme if theme in THEMES else "auto"
    response.set_cookie(THEME_COOKIE, chosen, max_age=_YEAR_S, path="/console", httponly=True, samesite="strict")
    return response


def own_path(target: str) -> str:
    """Return `target` if it is an address of the console, else the address of the overview."""
    parts = urlsplit(target)
    own = parts.path == "/console" or parts.path.startswith("/console/")
    if parts.scheme or parts.netloc or not own or "\\" in target or not target.isprintable():
        return "/console"
    return target


def _signed_in(request: Request, session: str, target: str) -> Response:
    response = RedirectResponse(target, 303)
    response.set_cookie(
        cookie_of(request),
        session,
        max_age=LIFE_S,
        path="/",
        secure=not is_loopback(request),
        httponly=True,
        samesite="strict",
    )
    return response


def _keeps_cookie(request: Request) -> bool:
    """Return whether the page was opened on loopback or over TLS. Otherwise the browser drops the session's cookie."""
    return is_loopback(request) or urlsplit(request.headers.get("origin", "")).scheme != "http"


def _address(request: Request) -> str:
    """
    Return the caller's address. An IPv6 address is cut to its /64 network, since one caller may own the whole network.
    """
    host = request.client.host if request.client else "unknown"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(address if address.version == 4 else ipaddress.ip_network((address, 64), strict=False).network_address)
