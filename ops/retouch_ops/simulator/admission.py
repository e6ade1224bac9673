"""
What stands between a POST and its work: form, key, fields, spam filter, cap and refusing faults, in this order.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from starlette.requests import Request

from retouch_ops.simulator.audit import Identity
from retouch_ops.simulator.faults import Fault, stage_of
from retouch_ops.simulator.state import SimulatorState
from retouch_ops.simulator.validation import EditRequest, validate


class PostRefused(Exception):
    """A request that is answered with an error and never runs; `body` replaces the usual words of the reason."""

    def __init__(self, reason: str, body: dict[str, object] | None = None) -> None:
        self.reason, self.body = reason, body
        super().__init__(reason)


@dataclass(frozen=True)
class AdmittedPost:
    """One admitted POST: whose it is (a hash of the key), what it wants, what goes wrong with it."""

    owner: str
    edit: EditRequest
    identity: Identity
    fault: Fault

    @property
    def spam_key(self) -> str:
        """The name under which the spam filter knows the body."""
        return self.owner + self.identity.body


async def body_of(request: Request) -> dict[str, object]:
    """Return the JSON object of a request, empty when it is none or not sent as JSON."""
    if "json" not in request.headers.get("content-type", ""):
        return {}
    try:
        body = json.loads(await request.body())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def base_url(request: Request, state: SimulatorState) -> str:
    """Return what links to this simulator start with."""
    return (state.config.public_url or str(request.base_url)).rstrip("/")


def is_v6(request: Request) -> bool:
    """Return whether the caller used a path of v6, whose answers have another shape."""
    return request.url.path.startswith("/api/v6/")


def admit(state: SimulatorState, request: Request, body: dict[str, object], identity: Identity) -> AdmittedPost:
    """Return the request with the fault it shall have; raises `PostRefused`."""
    if not body:
        raise PostRefused("invalid_request")
    if not state.accepts(body.get("key")):
        raise PostRefused("bad_key")
    edit = validate(body, is_v6=is_v6(request))
    if isinstance(edit, dict):
        raise PostRefused("validation", {"status": "error", "message": edit})
    owner = hashlib.sha256(str(body["key"]).encode()).hexdigest()
    if state.spam_filter.is_repeated(owner + identity.body, state.config.spam_filter_s):
        raise PostRefused("spam_filter")
    if state.books.is_full(owner):
        raise PostRefused("queue_full")
    fault = state.faults.for_post(identity.tag, state.config.processing_share)
    if stage_of(fault.kind) == "refusal":
        raise PostRefused(fault.kind)
    return AdmittedPost(owner, edit, identity, fault)
