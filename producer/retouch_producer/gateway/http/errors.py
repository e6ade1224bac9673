"""Answers every error as RFC 9457 problem details of a stable type, and serves a page for each type."""

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
from retouch.errors import IdempotencyConflict, InvalidEdit, InvalidQuery, QueueFull, StoreUnavailable, UnknownJob
from retouch_producer.documents import Document

MEDIA_TYPE = "application/problem+json"
STORE_WAIT_S = 2.0
_FIELDS_NAMED = 10
_UNROUTED = {
    404: "there is no route at this address; /docs and /openapi.json list all routes",
    405: "this address does not accept the method; the header Allow lists those that it accepts",
}
_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
Responses = dict[int | str, Document]
"""The `responses` of a FastAPI route: for each status, a part of the OpenAPI description."""
log = logging.getLogger("retouch.gateway")


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One type of problem: status, title, whether the same request may succeed later, and advice for the caller."""

    status: int
    title: str
    retryable: bool
    advice: str


KINDS = {
    "malformed-body": ProblemKind(400, "The body cannot be parsed", False, "Send one JSON object in UTF-8, or a form."),
    "unauthorized": ProblemKind(
        401, "No valid API key", False, "Send `Authorization: Bearer rtk_…`. `retouch keys create` makes a key."
    ),
    "forbidden": ProblemKind(
        403, "The key's role does not permit this", False, "Use a key of a role that may; docs/audit.md lists them."
    ),
    "not-found": ProblemKind(
        404, "Not found", False, "It never existed, its retention is over, or it belongs to another tenant."
    ),
    "method-not-allowed": ProblemKind(405, "Method not allowed", False, "See /docs."),
    "slow-body": ProblemKind(408, "The body did not arrive in time", True, "Send it faster, or in smaller requests."),
    "no-image-yet": ProblemKind(
        409,
        "The job has no image yet",
        True,
        "Wait until the job has succeeded: watch its events or send Prefer: wait.",
    ),
    "conflict": ProblemKind(
        409, "The current state does not allow this", False, "Read the job or delivery again, then decide."
    ),
    "too-large": ProblemKind(
        413, "The body is too large", False, "Limits: 64 KB for an edit, 4 MB for a batch, 50 MB for a file."
    ),
    "unsupported-media-type": ProblemKind(415, "Unsupported media type", False, "Send application/json."),
    "invalid-request": ProblemKind(
        422, "Invalid request", False, "`faults` names each wrong field and what was expected. Nothing was enqueued."
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
        429, "The tenant's backlog is full", True, "Wait as Retry-After says, or have the backlog limit raised."
    ),
    "budget-spent": ProblemKind(
        429, "Today's budget is spent or reserved", True, "Wait for the next UTC day, or have the budget raised."
    ),
    "too-many-at-once": ProblemKind(
        429, "Too many requests of this kind at once", True, "Wait as Retry-After says, and send fewer at a time."
    ),
    "internal": ProblemKind(
        500,
        "The gateway failed",
        True,
        "Repeat the request with the same Idempotency-Key, and report it to your operator.",
    ),
    "store-unavailable": ProblemKind(
        503,
        "Redis does not answer",
        True,
        "It is not known whether the request was carried out. Repeat it with the same Idempotency-Key: it runs once.",
    ),
    "image-store-unavailable": ProblemKind(
        503, "The image store does not answer", True, "Repeat the request as Retry-After says."
    ),
}
_BY_STATUS = {401: "unauthorized", 403: "forbidden", 404: "not-found", 405: "method-not-allowed"}


class ProblemError(Exception):
    """
    An error that is answered with problem details; `name` is its type, a key of `KINDS`.

    `charged` says whether the request may have cost money; None means that this is not known.
    """

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
        """The HTTP status of this kind of problem."""
        return KINDS[self.name].status

    def document(self) -> Document:
        """Return the problem details as a JSON object."""
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

    def answer_headers(self) -> dict[str, str]:
        """Return the headers of the answer, with Retry-After in whole seconds if `retry_after_s` is set."""
        wait = {} if self.retry_after_s is None else {"Retry-After": str(math.ceil(self.retry_after_s))}
        return self.headers | wait

    def response(self) -> Response:
        """Return the HTTP answer."""
        return JSONResponse(self.document(), self.status, self.answer_headers(), media_type=MEDIA_TYPE)


def unauthorized(detail: str, *, charged: bool | None = False) -> ProblemError:
    """Return the problem for an API key that is missing, unknown or revoked."""
    return ProblemError("unauthorized", detail, charged=charged, headers={"WWW-Authenticate": 'Bearer realm="retouch"'})


def not_found(resource: str) -> ProblemError:
    """Return the problem for an id that is unknown or another tenant's; both get the same text."""
    return ProblemError(
        "not-found",
        f"no {resource} has this id: it never existed, its retention is over, or it belongs to another tenant",
    )


def invalid(faults: Sequence[tuple[str, str]]) -> ProblemError:
    """
    Return the problem `invalid-request` with all faults, each a field and a message; the detail names up to ten fields.
    """
    names = list(dict.fromkeys(field for field, _ in faults))
    more = f" and {len(names) - _FIELDS_NAMED} more" if len(names) > _FIELDS_NAMED else ""
    return ProblemError("invalid-request", f"invalid: {', '.join(names[:_FIELDS_NAMED])}{more}", faults=faults)


def problem_of(error: Exception) -> ProblemError:
    """
    Return the problem for an exception. An exception of an unknown type is logged and becomes the problem `internal`.
    """
    match error:
        case ProblemError():
            return error
        case InvalidEdit() | InvalidQuery():
            return invalid(_faults_of(error))
        case IdempotencyConflict():
            return ProblemError(
                "idempotency-conflict", "the idempotency key belongs to another request; nothing was done"
            )
        case QueueFull():
            name = "budget-spent" if error.reason == "budget" else "backlog-full"
            headers = {"RateLimit": f'"{error.reason}";r=0;t={math.ceil(error.retry_after_s)}'}
            return ProblemError(name, str(error), retry_after_s=error.retry_after_s, headers=headers)
        case UnknownJob():
            return not_found("job")
        case StoreUnavailable():
            # The script may have run before the connection was lost.
            return ProblemError("store-unavailable", str(error), charged=None, retry_after_s=STORE_WAIT_S)
        case BlobError():
            detail = "the image store does not answer; repeating the request is safe"
            return ProblemError("image-store-unavailable", detail, retry_after_s=STORE_WAIT_S)
        case RequestValidationError():
            return invalid([(".".join(map(str, fault["loc"])), str(fault["msg"])) for fault in error.errors()])
        case HTTPException():
            name = _BY_STATUS.get(error.status_code, "internal" if error.status_code >= 500 else "invalid-request")
            detail = _UNROUTED.get(error.status_code, str(error.detail))
            return ProblemError(name, detail, headers=dict(error.headers or {}))
    log.error("request_failed", exc_info=error)
    return ProblemError("internal", "the gateway failed; the request may have been carried out", charged=None)


def _faults_of(error: InvalidEdit | InvalidQuery) -> list[tuple[str, str]]:
    """Return (field, message) of each fault. Faults in a query have the field `q`."""
    return error.faults if isinstance(error, InvalidEdit) else [("q", str(fault)) for fault in error.faults]


async def answer_problem(request: Request, error: Exception) -> Response:
    """Return the HTTP answer to an exception; a 405 lists the methods that the address accepts."""
    problem = problem_of(error)
    if problem.status == 405:
        problem.headers["Allow"] = ", ".join(_methods_of(request))
    return problem.response()


def _methods_of(request: Request) -> list[str]:
    """Return every HTTP method that the address of a request accepts."""
    # A route knows only its own methods, and several routes may share an address.
    candidates = [{**request.scope, "method": method} for method in _METHODS]
    accepted = (
        scope for scope in candidates if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    )
    return [scope["method"] for scope in accepted]


def install(app: FastAPI) -> None:
    """Make the application answer every error with problem details, and add the pages of the problems."""
    # `Exception` alone would not do: Starlette answers it and raises it again, into the log of the server.
    ours = (
        *(ProblemError, InvalidEdit, InvalidQuery, IdempotencyConflict, QueueFull),
        *(UnknownJob, StoreUnavailable, BlobError),
    )
    for kind in (*ours, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer_problem)
    app.include_router(router)


def problem_responses(*statuses: int) -> Responses:
    """Return the OpenAPI descriptions of the problems with these statuses."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {
            "description": "; or: ".join(sorted({kind.title for kind in KINDS.values() if kind.status == status})),
            "content": {MEDIA_TYPE: schema},
        }
        for status in statuses
    }


router = APIRouter(tags=["problems"])


@router.get(
    "/problems/{name}", operation_id="read_problem", response_class=HTMLResponse, responses=problem_responses(404)
)
def read_problem(name: str) -> HTMLResponse:
    """Return a page that explains one type of problem."""
    kind = KINDS.get(name)
    if kind is None:
        raise not_found("problem")
    retry = "The same request may succeed later." if kind.retryable else "The same request will not succeed."
    parts = [f"<h1>{html.escape(kind.title)}</h1>", f"<p>Status {kind.status}. {retry}</p>"]
    page = "".join([*parts, f"<p>{html.escape(kind.advice)}</p>"])
    return HTMLResponse(f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>{page}</html>")
