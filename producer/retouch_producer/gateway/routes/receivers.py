"""`/v1/receivers`: adds, lists, tests, rotates, disables, enables and removes the URLs that get a tenant's events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from retouch.admission import Options, resolve_options
from retouch.errors import InvalidEdit
from retouch.ids import receiver_id
from retouch.store.failing_receivers import failures_of
from retouch.store.pagination import IndexCursor
from retouch.store.receiver_health import receiver_health
from retouch.store.receivers import Receiver
from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey
from retouch_producer.documents import Document, failure_document, health_document, receiver_document
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import Caller, may_see, scope
from retouch_producer.gateway.http.body import SINGLE_MOST, read_json
from retouch_producer.gateway.http.errors import not_found, problem_responses
from retouch_producer.gateway.http.pagination import parse_cursor
from retouch_producer.gateway.http.parameters import PageCursor, PageLimit, TenantFilter
from retouch_producer.gateway.http.request_turns import give_up_turn
from retouch_producer.gateway.routes.edits import body_of
from retouch_producer.gateway.schemas import admin as admin_schemas
from retouch_producer.webhook_tests import send_test_event

router = APIRouter(prefix="/v1/receivers", tags=["receivers"])
_READ = problem_responses(401, 404, 422, 503)


def known(dependencies: Dependencies, identity: str, key: ApiKey) -> Receiver:
    """Return a receiver that the key may see. Raises the problem `not-found` if it is unknown or another tenant's."""
    with clear_errors():
        receiver = dependencies.connections.receivers.get(identity)
    if receiver is None or not may_see(key, receiver.tenant):
        raise not_found("receiver")
    return receiver


@router.post(
    "",
    operation_id="add_receiver",
    status_code=201,
    response_model=admin_schemas.Receiver,
    openapi_extra=body_of(admin_schemas.ReceiverRequest),
    responses=problem_responses(400, 401, 408, 413, 415, 422, 503),
)
async def add_receiver(request: Request, key: Caller, dependencies: Injected) -> JSONResponse:
    """
    Send the events of every job of the tenant to a URL. The answer has the secret that verifies the events.

    If the URL was added before, its events change and its secret stays. With `every_job` false, the URL gets only the
    events of jobs that name it as their webhook. A backend can thus read the secret before it enqueues the first of
    these jobs.
    """
    body = await read_json(request, SINGLE_MOST)
    url, events, tenant = _checked(body, key, dependencies)
    every_job = body.get("every_job", True)
    document = await run_in_threadpool(_add, dependencies, key, tenant, url, events if every_job else None)
    return JSONResponse(document, 201, {"Location": f"/v1/receivers/{document['id']}"})


def _add(dependencies: Dependencies, key: ApiKey, tenant: str, url: str, events: list[str] | None) -> Document:
    receivers = dependencies.connections.receivers
    with clear_errors():
        receiver = receivers.ensure(tenant, url) if events is None else receivers.add(tenant, url, events)
    if events is not None:
        dependencies.note_change(key, "receiver.add", tenant, ids=[receiver.id])
    return _documents(dependencies, [receiver], show_secret=True)[0]


def _checked(body: dict[str, Any], key: ApiKey, dependencies: Dependencies) -> tuple[str, list[str], str]:
    known_fields = admin_schemas.ReceiverRequest.model_fields
    faults = [(name[:80], "is not a field of a receiver") for name in body if name not in known_fields]
    url, events, tenant = body.get("url"), body.get("events") or [], body.get("tenant") or key.tenant
    if not isinstance(url, str) or not url:
        faults.append(("url", "expected an http(s) URL"))
    if not isinstance(events, list) or not all(isinstance(one, str) for one in events):
        faults.append(("events", "expected a list of texts"))
    if not isinstance(body.get("every_job", True), bool):
        faults.append(("every_job", "expected true or false"))
    if not isinstance(tenant, str) or (key.role != "ops" and tenant != key.tenant):
        faults.append(("tenant", "expected none or the key's own; only a key of role ops may name another"))
    if faults:
        raise InvalidEdit(faults)
    try:
        resolve_options(Options(tenant=tenant, webhook=url, events=events), dependencies.settings, receiver_id)  # type: ignore[arg-type]  # events are checked there
    except InvalidEdit as error:
        raise InvalidEdit([("url" if name == "webhook" else name, words) for name, words in error.faults]) from None
    return str(url), events, tenant


@router.get("", operation_id="list_receivers", response_model=admin_schemas.ReceiverPage, responses=_READ)
def list_receivers(
    key: Caller, dependencies: Injected, tenant: TenantFilter = None, limit: PageLimit = 100, cursor: PageCursor = ""
) -> JSONResponse:
    """List receivers, sorted by id, without their secrets. Receivers that were only named by jobs are included."""
    with clear_errors():
        found, next_cursor = receivers_page(dependencies, scope(key, tenant), limit, cursor)
    data = _documents(dependencies, found)
    return JSONResponse({"data": data, "has_more": next_cursor is not None, "next_cursor": next_cursor})


def receivers_page(
    dependencies: Dependencies, tenant: str, limit: int, cursor: str
) -> tuple[list[Receiver], str | None]:
    """
    Return a page of the receivers of a tenant ("" for all), and the cursor of the next page, or None at the end.

    Raises the problem `invalid-request` for a text without the form of a cursor.
    """
    after = parse_cursor(cursor)
    found, last = dependencies.connections.receivers.page(tenant, limit, after.item if after else "")
    # The score of each entry of this index is 0.
    return found, str(IndexCursor(0.0, last)) if last else None


def _documents(
    dependencies: Dependencies, receivers: Sequence[Receiver], *, show_secret: bool = False
) -> list[Document]:
    with clear_errors():
        failing = failures_of(dependencies.client, [receiver.id for receiver in receivers])
    return [
        {
            "secret": None,
            **receiver_document(receiver, show_secret=show_secret),
            "failing": failure_document(failing[receiver.id]) if receiver.id in failing else None,
            "health": None,
        }
        for receiver in receivers
    ]


@router.get("/{receiver_id}", operation_id="read_receiver", response_model=admin_schemas.Receiver, responses=_READ)
def read_receiver(receiver_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """Return one receiver, with its failures if it fails, and its health: how it took its latest deliveries."""
    receiver = known(dependencies, receiver_id, key)
    with clear_errors():
        health = receiver_health(dependencies.connections.deliveries, receiver)
    return JSONResponse({**_documents(dependencies, [receiver])[0], "health": health_document(health)})


@router.delete("/{receiver_id}", operation_id="remove_receiver", status_code=204, responses=_READ)
def remove_receiver(receiver_id: str, key: Caller, dependencies: Injected) -> Response:
    """Remove a receiver: nothing new is sent to it, and deliveries that wait for it end as dead."""
    receiver = known(dependencies, receiver_id, key)
    with clear_errors():
        dependencies.connections.receivers.remove(receiver.id)
    dependencies.note_change(key, "receiver.remove", receiver.tenant, ids=[receiver.id])
    return Response(status_code=204)


@router.post(
    "/{receiver_id}/rotate", operation_id="rotate_receiver", response_model=admin_schemas.Receiver, responses=_READ
)
def rotate_receiver(receiver_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """Make a new secret and return it. For a day, events are signed with the old secret as well."""
    receiver = known(dependencies, receiver_id, key)
    with clear_errors():
        rotated = dependencies.connections.receivers.rotate(receiver.id)
    dependencies.note_change(key, "receiver.rotate", receiver.tenant, ids=[receiver.id])
    return JSONResponse(_documents(dependencies, [rotated or receiver], show_secret=True)[0])


@router.post(
    "/{receiver_id}/disable", operation_id="disable_receiver", response_model=admin_schemas.Receiver, responses=_READ
)
def disable_receiver(receiver_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """Send nothing new to a receiver; redelivery by hand still works."""
    return _switched(dependencies, key, known(dependencies, receiver_id, key), True)


@router.post(
    "/{receiver_id}/enable", operation_id="enable_receiver", response_model=admin_schemas.Receiver, responses=_READ
)
def enable_receiver(receiver_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """Send events to a receiver again, and forget its failures."""
    return _switched(dependencies, key, known(dependencies, receiver_id, key), False)


def _switched(dependencies: Dependencies, key: ApiKey, receiver: Receiver, disabled: bool) -> JSONResponse:
    with clear_errors():
        changed = dependencies.connections.receivers.set_disabled(receiver.id, disabled)
    action = "receiver.disable" if disabled else "receiver.enable"
    dependencies.note_change(key, action, receiver.tenant, ids=[receiver.id])
    return JSONResponse(_documents(dependencies, [changed or receiver])[0])


@router.post(
    "/{receiver_id}/test",
    operation_id="test_receiver",
    response_model=admin_schemas.TestAnswer,
    responses=problem_responses(401, 404, 422, 429, 503),
)
async def test_receiver(receiver_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """Send a signed test event now and return the receiver's answer. One tenant may run four tests at once."""
    receiver = await run_in_threadpool(known, dependencies, receiver_id, key)
    await give_up_turn()
    networks = dependencies.settings.dangerous_allow_private_networks
    return JSONResponse(await dependencies.receiver_tests.run(receiver.tenant, send_test_event, receiver, networks))
