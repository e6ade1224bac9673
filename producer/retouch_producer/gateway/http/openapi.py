"""The OpenAPI 3.1 description: shapes that routes read by themselves, webhooks, and no status that cannot happen."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from retouch_producer.documents import Document
from retouch_producer.gateway.schemas import admin as admin_schemas
from retouch_producer.gateway.schemas import edits as edit_schemas

_READ_BY_ROUTES = (edit_schemas.EditRequest, edit_schemas.BatchRequest, admin_schemas.ReceiverRequest)
_ANSWERS = (edit_schemas.Problem,)
_OPEN_OR_KEY = ("/files/",)
_WEBHOOKS = {
    "edit.succeeded": "The image is kept; `data.result` links to it.",
    "edit.failed": "There is no image; `data.error` says why. It can be replayed.",
    "edit.cancelled": "It was asked for; `data.cancelled` says whether it cost.",
    "edit.running": "An attempt began; sent to those that ask for it.",
    "edit.retrying": "An attempt failed and another follows; sent to those that ask for it.",
}
_SIGNED = (
    ("webhook-id", "The event's id, the same over all attempts."),
    ("webhook-timestamp", "Unix seconds of this attempt."),
    ("webhook-signature", "`v1,` and base64 HMAC-SHA256 of `id.timestamp.body`; several during a rotation."),
)


def describe(app: FastAPI) -> None:
    """Let the application describe itself once, when first asked."""

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
    modes += [(model, "serialization") for model in (*_ANSWERS, edit_schemas.Event)]
    _, extra = models_json_schema(modes, ref_template="#/components/schemas/{model}")
    schemas.update({name: schema for name, schema in extra["$defs"].items() if name not in schemas})
    for path, item in described["paths"].items():
        for operation in item.values():
            if path.startswith(_OPEN_OR_KEY):
                operation["security"] = [{}, {"ApiKey": []}]
            operation.setdefault("security", [])
    described["webhooks"] = {name: {"post": _webhook(name, summary)} for name, summary in _WEBHOOKS.items()}
    return described


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
            "410": {"description": "Never send here again: the receiver is disabled."},
        },
        "security": [],
    }
