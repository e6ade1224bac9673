"""
The checks that a POST must pass before its work begins.

They are made in this order: form, key, fields, spam filter, cap, faults.
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
    """A POST is answered with an error and not with an edit. `body` replaces the usual body for `reason`."""

    def __init__(self, reason: str, body: dict[str, object] | None = None) -> None:
        self.reason, self.body = reason, body
        super().__init__(reason)


@dataclass(frozen=True)
class AdmittedPost:
    """
    A POST that has passed all checks, and the fault that its answer gets.

    `owner` is the hash of the API key that was sent. `identity` holds the names under which the POST is counted.
    """

    owner: str
    edit: EditRequest
    identity: Identity
    fault: Fault

    @property
    def spam_key(self) -> str:
        """The name of this POST in the spam filter. POSTs with equal bodies and the same API key have the same name."""
        return self.owner + self.identity.body


async def body_of(request: Request) -> dict[str, object]:
    """
    Return the JSON object in a request's body. Return an empty dict if the body or its content type is anything else.
    """
    if "json" not in request.headers.get("content-type", ""):
        return {}
    try:
        body = json.loads(await request.body())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def base_url(request: Request, state: SimulatorState) -> str:
    """Return the scheme and host with which links to this simulator begin."""
    return (state.config.public_url or str(request.base_url)).rstrip("/")


def is_v6(request: Request) -> bool:
    """Return whether the request's path is one of v6, whose answers have another shape."""
    return request.url.path.startswith("/api/v6/")


def admit(state: SimulatorState, request: Request, body: dict[str, object], identity: Identity) -> AdmittedPost:
    """Return the admitted POST with its fault. Raises `PostRefused` if a check or a fault refuses it."""
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
