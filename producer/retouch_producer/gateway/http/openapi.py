"""Completes the OpenAPI 3.1 description: schemas of bodies that routes parse themselves, security, and webhooks."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from retouch_producer.documents import Document
from retouch_producer.gateway.http.roles import SAFE_METHODS
from retouch_producer.gateway.schemas import admin as admin_schemas
from retouch_producer.gateway.schemas import bulk as bulk_schemas
from retouch_producer.gateway.schemas import edits as edit_schemas
from retouch_producer.gateway.schemas import events as event_schemas

_READ_BY_ROUTES = (
    *(edit_schemas.EditRequest, edit_schemas.BatchRequest),
    *(admin_schemas.ReceiverRequest, bulk_schemas.BulkRequest),
)
_ANSWERS = (edit_schemas.Problem,)
_OPEN_OR_KEY = ("/files/",)
_WEBHOOKS = {
    "edit.succeeded": "The job has its image; `data.result` links to it.",
    "edit.failed": "The job has no image; `data.error` says why. It can be replayed.",
    "edit.cancelled": "The job was cancelled; `data.cancelled` says whether before or after a charge.",
    "edit.running": "An attempt began. Sent only to receivers that list this type.",
    "edit.retrying": "An attempt failed and another follows. Sent only to receivers that list this type.",
}
_SIGNED = (
    ("webhook-id", "The event's id, the same in all delivery attempts."),
    ("webhook-timestamp", "Unix seconds of this attempt."),
    (
        "webhook-signature",
        "`v1,` and the base64 HMAC-SHA256 of `id.timestamp.body`; several values while a secret is rotated.",
    ),
)


def describe(app: FastAPI) -> None:
    """Make the application build its OpenAPI description at the first request for it, and cache it."""

    def openapi() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = _description(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this assignment


def _description(app: FastAPI) -> Document:
    described = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        routes=app.routes,
        openapi_version="3.1.0",
        description="Errors are problem details (RFC 9457); each `type` is a page here. Times are ISO 8601 in UTC.",
        servers=[{"url": "/"}],
        license_info={"name": "MIT", "identifier": "MIT"},
    )
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = [(model, "validation") for model in _READ_BY_ROUTES]
    modes += [(model, "serialization") for model in (*_ANSWERS, event_schemas.Event)]
    _, extra = models_json_schema(modes, ref_template="#/components/schemas/{model}")
    # A schema that FastAPI made for a route takes precedence.
    schemas.update({name: schema for name, schema in extra["$defs"].items() if name not in schemas})
    for path, item in described["paths"].items():
        for operation in item.values():
            # A signed link needs no key; a name without a signature does.
            if path.startswith(_OPEN_OR_KEY):
                operation["security"] = [{}, {"ApiKey": []}]
            operation.setdefault("security", [])
    _describe_forbidden(described["paths"])
    described["webhooks"] = {name: {"post": _webhook(name, summary)} for name, summary in _WEBHOOKS.items()}
    return described


def _describe_forbidden(paths: Document) -> None:
    """
    Add the answer 403 to the description of each operation that changes something.

    A caller gets this answer if the role of its key lacks the right, or if a page of another site sent the request.
    """
    example = paths["/v1/pause"]["post"]["responses"]["403"]
    for item in paths.values():
        for method, operation in item.items():
            if method.upper() not in SAFE_METHODS and operation["security"]:
                operation["responses"].setdefault("403", example)


def _webhook(name: str, summary: str) -> Document:
    schema = {"$ref": "#/components/schemas/Event"}
    return {
        "operationId": name.replace(".", "_"),
        "summary": summary,
        "tags": ["webhooks"],
        "parameters": [
            {"name": header, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for header, text in _SIGNED
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "2XX": {"description": "Received."},
            "410": {"description": "The receiver wants no more events: it is disabled."},
        },
        "security": [],
    }
