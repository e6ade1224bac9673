"""Finds the visitor to whom a session's cookie belongs, and checks what the role of the visitor allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from retouch.store.console_sessions import ConsoleSessions
from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey
from retouch_producer.gateway.dependencies import Injected
from retouch_producer.gateway.http.auth import may_see
from retouch_producer.gateway.http.errors import ProblemError
from retouch_producer.gateway.http.request_turns import take_turn
from retouch_producer.gateway.http.roles import OPS, PRODUCERS, allows, roles_for, sees_all

COOKIE, LOOPBACK_COOKIE = "__Host-retouch-console", "retouch-console"
LIVE_HEADER = "x-console-live"
"""The header of requests that a page sends by itself. Such requests do not extend the session."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

Action = Literal[
    "cancel",
    "replay",
    "approve",
    "redeliver",
    "test_receiver",
    "rotate_receiver",
    "switch_receiver",
    "switch_lane",
    "switch_account",
    "test_account",
    "set_limits",
    "compare_bill",
    "start_bulk",
    "abort_bulk",
]
ACTIONS: dict[Action, frozenset[str]] = {
    "cancel": PRODUCERS,
    "replay": PRODUCERS,
    "approve": PRODUCERS,
    "redeliver": PRODUCERS,
    "test_receiver": PRODUCERS,
    "rotate_receiver": PRODUCERS,
    "switch_receiver": PRODUCERS,
    "switch_lane": OPS,
    "switch_account": OPS,
    "test_account": OPS,
    "set_limits": OPS,
    "start_bulk": roles_for("POST", "/v1/bulk"),
    "abort_bulk": roles_for("POST", "/v1/bulk/{run_id}/abort"),
    "compare_bill": frozenset({"viewer", "ops"}),
}
"""The roles that may do each action. A viewer may compare a bill, which changes nothing."""


class SignedOut(Exception):
    """Raised for a request without an open session; `target` is the page to return to after signing in."""

    def __init__(self, target: str) -> None:
        self.target = target
        super().__init__("signed out")

    @property
    def sign_in(self) -> str:
        """Return the address of the sign-in page that returns to `target`."""
        return f"/console/sign-in?back={quote(self.target, safe='')}"


@dataclass(frozen=True, slots=True)
class Visitor:
    """A person with an open session, who has the rights of the API key used to sign in."""

    key: ApiKey

    @property
    def sees_all(self) -> bool:
        """Return whether the visitor sees all tenants. If not, the visitor sees only the tenant of the key."""
        return sees_all(self.key.role)

    @property
    def tenant(self) -> str:
        """Return the only tenant that the visitor sees, or an empty text if the visitor sees all tenants."""
        return "" if self.sees_all else self.key.tenant

    def sees(self, tenant: str) -> bool:
        """Return whether the visitor may see the jobs and settings of a tenant."""
        return may_see(self.key, tenant)

    def may_read(self, path: str) -> bool:
        """Return whether the role may read a route of the API. `path` is the route's path template."""
        return allows(self.key.role, "GET", path)

    def may(self, action: Action) -> bool:
        """Return whether the role may do an action."""
        return self.key.role in ACTIONS[action]


def is_loopback(request: Request) -> bool:
    """
    Return whether the page was opened on this machine over plain http.

    In this case, browsers keep no cookie with the attribute `Secure`.
    """
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname
    return request.url.scheme == "http" and host in _LOOPBACK


def cookie_of(request: Request) -> str:
    """Return the name of the session's cookie, which begins with `__Host-` except on loopback without TLS."""
    return LOOPBACK_COOKIE if is_loopback(request) else COOKIE


async def visitor_of(request: Request, dependencies: Injected) -> Visitor:
    """Return the visitor who sent a request; raise `SignedOut` if there is no open session."""
    session = request.cookies.get(cookie_of(request), "")
    by_hand = LIVE_HEADER not in request.headers
    key = await run_in_threadpool(_look_up, ConsoleSessions(dependencies.client), session, by_hand) if session else None
    if key is None:
        query = f"?{request.url.query}" if request.url.query else ""
        raise SignedOut(request.url.path + query if request.method == "GET" else "/console")
    await take_turn(key.tenant)
    return Visitor(key)


def _look_up(sessions: ConsoleSessions, session: str, by_hand: bool) -> ApiKey | None:
    with clear_errors():
        key = sessions.find(session)
        if key and by_hand:
            sessions.touch(session)
    return key


SignedIn = Annotated[Visitor, Depends(visitor_of)]


class Acting:
    """A dependency that returns the visitor if the visitor's role may do an action. Otherwise the answer is 403."""

    def __init__(self, action: Action) -> None:
        self.action = action

    def __call__(self, visitor: SignedIn) -> Visitor:
        """Return the visitor, or raise `forbidden`."""
        if not visitor.may(self.action):
            raise ProblemError("forbidden", f"a key of role {visitor.key.role} may not do this; nothing was done")
        return visitor


class Reading:
    """
    A dependency that returns the visitor if the visitor's role may read the API route `path`. Otherwise the answer is
    403.

    `path` is a path template.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, visitor: SignedIn) -> Visitor:
        """Return the visitor, or raise `forbidden`."""
        if not visitor.may_read(self.path):
            raise ProblemError("forbidden", f"a key of role {visitor.key.role} may not read this")
        return visitor
