"""Every error of the gateway as RFC 9457 problem details of a stable type, and a page for each type."""

from __future__ import annotations

import html
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from retouch.blobs import BlobError
from retouch.errors import IdempotencyConflict, InvalidEdit, QueueFull, StoreUnavailable, UnknownJob
from retouch_producer.documents import Document

MEDIA_TYPE = "application/problem+json"
STORE_WAIT_S = 2.0
_FIELDS_NAMED = 10
_UNROUTED = {
    404: "nothing is at this address: /docs and /openapi.json list what is where",
    405: "the header Allow names the methods that this address takes",
}
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
Responses = dict[int | str, Document]
"""The `responses` of a FastAPI route: for each status, a part of the OpenAPI description."""
log = logging.getLogger("retouch.gateway")


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One type of problem: its status and title, whether the same request may succeed later, and what to do."""

    status: int
    title: str
    retryable: bool
    advice: str


KINDS = {
    "malformed-body": ProblemKind(400, "The body cannot be read", False, "Send one JSON object in UTF-8, or a form."),
    "unauthorized": ProblemKind(
        401, "No valid API key", False, "Send `Authorization: Bearer rtk_…`. `retouch keys create` makes a key."
    ),
    "forbidden": ProblemKind(403, "This key's role may not do that", False, "Use a key of role ops."),
    "not-found": ProblemKind(
        404, "Not found", False, "It never existed, its retention is over, or it belongs to another tenant."
    ),
    "method-not-allowed": ProblemKind(405, "This address does not take this method", False, "See /docs."),
    "slow-body": ProblemKind(408, "The body did not arrive in time", True, "Send it faster, or in smaller requests."),
    "no-image-yet": ProblemKind(
        409, "The job has no image", True, "Wait until the job is succeeded: watch its events or send Prefer: wait."
    ),
    "conflict": ProblemKind(409, "The state of the thing does not allow that", False, "Read it again, then decide."),
    "too-large": ProblemKind(
        413, "The body is too large", False, "64 KB for an edit, 4 MB for a batch, 50 MB for a file."
    ),
    "unsupported-media-type": ProblemKind(415, "The body is of another type", False, "Send application/json."),
    "invalid-request": ProblemKind(
        422, "The request is wrong", False, "`faults` names each field with what was expected. Nothing was enqueued."
    ),
    "idempotency-conflict": ProblemKind(
        422, "The idempotency key belongs to another request", False, "Use a new key; a key is remembered for 24 hours."
    ),
    "input-unreadable": ProblemKind(
        422,
        "init_image could not be read as a picture",
        False,
        "It must be a PNG, JPEG or WebP image at a public address that answers within 10 s.",
    ),
    "backlog-full": ProblemKind(
        429, "Too many jobs of this tenant wait", True, "Wait as Retry-After says, or have the backlog limit raised."
    ),
    "budget-spent": ProblemKind(
        429, "The calls of today are spent or promised", True, "Wait for the next UTC day, or have the budget raised."
    ),
    "too-many-at-once": ProblemKind(
        429, "Too many requests of this kind at once", True, "Wait as Retry-After says, and send fewer at a time."
    ),
    "internal": ProblemKind(
        500, "The gateway failed", True, "Repeat it with the same idempotency key; tell who runs it."
    ),
    "store-unavailable": ProblemKind(
        503,
        "Redis does not answer",
        True,
        "Repeat it with the same Idempotency-Key: whether it was carried out is not known, and then it is done once.",
    ),
    "image-store-unavailable": ProblemKind(
        503, "The image store does not answer", True, "Repeat it after Retry-After."
    ),
}
_BY_STATUS = {401: "unauthorized", 403: "forbidden", 404: "not-found", 405: "method-not-allowed"}


class ProblemError(Exception):
    """A problem to be answered. `charged` None: not known whether money was spent."""

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        faults: Sequence[tuple[str, str]] = (),
        charged: bool | None = False,
        retryable: bool | None = None,
        retry_after_s: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.name, self.detail, self.faults, self.charged = name, detail, list(faults), charged
        self.retryable = KINDS[name].retryable if retryable is None else retryable
        self.retry_after_s, self.headers = retry_after_s, headers or {}
        super().__init__(f"{name}: {detail}")

    @property
    def status(self) -> int:
        """The HTTP status of this kind."""
        return KINDS[self.name].status

    def document(self) -> Document:
        """Give the problem's members."""
        return {
            "type": f"/problems/{self.name}",
            "title": KINDS[self.name].title,
            "status": self.status,
            "detail": self.detail,
            "retryable": self.retryable,
            "charged": self.charged,
            "faults": [{"field": field, "message": message} for field, message in self.faults],
            "retry_after_s": self.retry_after_s,
        }

    def response(self) -> Response:
        """Give the whole answer."""
        headers = dict(self.headers)
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(math.ceil(self.retry_after_s))
        return JSONResponse(self.document(), self.status, headers, media_type=MEDIA_TYPE)


def unauthorized(detail: str, *, charged: bool | None = False) -> ProblemError:
    """Return the answer for a key that is missing, unknown or revoked."""
    return ProblemError("unauthorized", detail, charged=charged, headers={"WWW-Authenticate": 'Bearer realm="retouch"'})


def not_found(resource: str) -> ProblemError:
    """Give the answer for what is not there, or is another tenant's."""
    return ProblemError("not-found", f"no {resource} has this id: it never existed, is gone, or is not yours")


def invalid(faults: Sequence[tuple[str, str]]) -> ProblemError:
    """Give the answer for a wrong request: all its faults, and their fields in one line for people."""
    names = list(dict.fromkeys(field for field, _ in faults))
    more = f" and {len(names) - _FIELDS_NAMED} more" if len(names) > _FIELDS_NAMED else ""
    return ProblemError("invalid-request", f"wrong: {', '.join(names[:_FIELDS_NAMED])}{more}", faults=faults)


def problem_of(error: Exception) -> ProblemError:
    """Give the problem that an error comes to; one that is not ours becomes `internal`."""
    match error:
        case ProblemError():
            return error
        case InvalidEdit():
            return invalid(error.faults)
        case IdempotencyConflict():
            return ProblemError("idempotency-conflict", "this key was first used for another request; nothing was done")
        case QueueFull():
            name = "budget-spent" if error.reason == "budget" else "backlog-full"
            headers = {"RateLimit": f'"{error.reason}";r=0;t={math.ceil(error.retry_after_s)}'}
            return ProblemError(name, str(error), retry_after_s=error.retry_after_s, headers=headers)
        case UnknownJob():
            return not_found("job")
        case StoreUnavailable():
            return ProblemError("store-unavailable", str(error), charged=None, retry_after_s=STORE_WAIT_S)
        case BlobError():
            detail = "the image store does not answer; trying again is safe"
            return ProblemError("image-store-unavailable", detail, retry_after_s=STORE_WAIT_S)
        case RequestValidationError():
            return invalid([(".".join(map(str, fault["loc"])), str(fault["msg"])) for fault in error.errors()])
        case HTTPException():
            name = _BY_STATUS.get(error.status_code, "internal" if error.status_code >= 500 else "invalid-request")
            detail = _UNROUTED.get(error.status_code, str(error.detail))
            return ProblemError(name, detail, headers=dict(error.headers or {}))
    log.error("request_failed", exc_info=error)
    return ProblemError("internal", "the gateway failed; what it was asked for may have been done", charged=None)


async def answer_problem(request: Request, error: Exception) -> Response:
    """Answer an error."""
    problem = problem_of(error)
    if problem.status == 405:
        problem.headers["Allow"] = ", ".join(_methods_of(request))
    return problem.response()


def _methods_of(request: Request) -> list[str]:
    """Every method that the address takes: a route knows its own alone, and an address may have several."""
    candidates = [{**request.scope, "method": method} for method in _METHODS]
    accepted = (
        scope for scope in candidates if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    )
    return [scope["method"] for scope in accepted]


def install(app: FastAPI) -> None:
    """Let every error of this application become a problem."""
    ours = (ProblemError, InvalidEdit, IdempotencyConflict, QueueFull, UnknownJob, StoreUnavailable, BlobError)
    for kind in (*ours, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer_problem)
    app.include_router(router)


def documented(*statuses: int) -> Responses:
    """Describe problems of these statuses for OpenAPI."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {
            "description": "; or: ".join(sorted({kind.title for kind in KINDS.values() if kind.status == status})),
            "content": {MEDIA_TYPE: schema},
        }
        for status in statuses
    }


router = APIRouter(tags=["problems"])


@router.get("/problems/{name}", operation_id="read_problem", response_class=HTMLResponse, responses=documented(404))
def read_problem(name: str) -> HTMLResponse:
    """The page behind a problem's `type`: what it means and what to do."""
    kind = KINDS.get(name)
    if kind is None:
        raise not_found("problem")
    retry = "The same request may succeed later." if kind.retryable else "The same request will not succeed."
    parts = [f"<h1>{html.escape(kind.title)}</h1>", f"<p>Status {kind.status}. {retry}</p>"]
    page = "".join([*parts, f"<p>{html.escape(kind.advice)}</p>"])
    return HTMLResponse(f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>{page}</html>")
