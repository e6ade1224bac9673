"""`/v1/deliveries`: lists and returns deliveries with their attempts, and redelivers them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from retouch.batches import batched
from retouch.store import keys
from retouch.store.audit import CHANGES
from retouch.store.deliveries import DeliveryRecord
from retouch.store.pagination import walk
from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey
from retouch_producer.documents import delivery_document
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import Caller, may_see, scope
from retouch_producer.gateway.http.body import parse_instant
from retouch_producer.gateway.http.errors import ProblemError, not_found, problem_responses
from retouch_producer.gateway.http.pagination import parse_cursor, read_page
from retouch_producer.gateway.http.parameters import PageCursor, PageLimit, Since, TenantFilter
from retouch_producer.gateway.routes.receivers import known
from retouch_producer.gateway.schemas import admin as admin_schemas
from retouch_producer.gateway.schemas import events as event_schemas

router = APIRouter(prefix="/v1", tags=["deliveries"])
_READ = problem_responses(401, 404, 422, 503)
_REDELIVERED_AT_ONCE = 20
ReceiverFilter = Annotated[str | None, Query(description="Only deliveries to this receiver.")]
DeadOnly = Annotated[bool, Query(description="Only deliveries that are dead.")]


@router.get("/deliveries", operation_id="list_deliveries", response_model=event_schemas.DeliveryPage, responses=_READ)
def list_deliveries(
    key: Caller,
    dependencies: Injected,
    state: event_schemas.DeliveryStateName | None = None,
    since: Since | None = None,
    receiver: ReceiverFilter = None,
    tenant: TenantFilter = None,
    limit: PageLimit = 50,
    cursor: PageCursor | None = None,
) -> JSONResponse:
    """List deliveries, newest first. `state=dead` lists those whose attempts are used up."""
    wanted = DeliveryFilter(scope(key, tenant), state or "", receiver or "", since)
    records, next_cursor = find_deliveries(dependencies, wanted, cursor, limit)
    data = [delivery_document(record) for record in records]
    return JSONResponse({"data": data, "has_more": next_cursor is not None, "next_cursor": next_cursor})


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """A filter for deliveries; an empty field matches every delivery. `since` is the caller's text, not parsed yet."""

    tenant: str
    state: str
    receiver: str
    since: str | None


def find_deliveries(
    dependencies: Dependencies, wanted: DeliveryFilter, cursor: str | None, limit: int
) -> tuple[list[DeliveryRecord], str | None]:
    """
    Return a page of matching deliveries, newest first, and the cursor of the next page, or None at the end.

    At most 5,000 index entries are examined for a page.
    """
    # A cursor names an entry of the index that is read: from its own index a tenant gets no other tenant's ids.
    index_of_all = keys.lane("deliveries", "dead" if wanted.state == "dead" else "recent")
    index = keys.deliveries_by_tenant(wanted.tenant) if wanted.tenant else index_of_all
    since, after = parse_instant(wanted.since, "since"), parse_cursor(cursor)
    with clear_errors():
        cursors = walk(dependencies.client, [index], since=since, after=after)
        read = partial(
            dependencies.connections.deliveries.matching,
            tenant=wanted.tenant,
            receiver=wanted.receiver,
            state=wanted.state,
        )
        return read_page(cursors, read, lambda record: record.id, limit)


def _delivery(dependencies: Dependencies, identity: str, key: ApiKey) -> DeliveryRecord:
    with clear_errors():
        records = next(iter(dependencies.connections.deliveries.records([identity])), None)
    if records is None or not may_see(key, records.tenant):
        raise not_found("delivery")
    return records


@router.get(
    "/deliveries/{delivery_id}", operation_id="read_delivery", response_model=event_schemas.Delivery, responses=_READ
)
def read_delivery(delivery_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """Return one delivery with its attempts."""
    return JSONResponse(delivery_document(_delivery(dependencies, delivery_id, key)))


@router.post(
    "/deliveries/{delivery_id}/redeliver",
    operation_id="redeliver",
    response_model=admin_schemas.Redelivered,
    responses=problem_responses(401, 404, 409, 422, 503),
)
def redeliver(delivery_id: str, key: Caller, dependencies: Injected) -> JSONResponse:
    """
    Send one delivery again, signed with the current secret.

    The outcome is `open` if the delivery is under way already. The answer is 409 if the delivery's job is no longer on
    record, since the event is built from the job.
    """
    delivery = _delivery(dependencies, delivery_id, key)
    outcome = _redeliver(dependencies, delivery.id)
    if outcome == "unknown":
        raise not_found("delivery")
    if outcome == "gone":
        raise ProblemError("conflict", "the job of this delivery is no longer on record; nothing was sent")
    if outcome in CHANGES:
        dependencies.note_change(key, "delivery.redeliver", delivery.tenant, ids=[delivery_id], outcome=outcome)
    return JSONResponse({"outcome": outcome, "delivery": delivery_document(_delivery(dependencies, delivery_id, key))})


@router.post(
    "/receivers/{receiver_id}/redeliver",
    operation_id="redeliver_to_receiver",
    response_model=admin_schemas.RedeliveredMany,
    responses=_READ,
)
def redeliver_to_receiver(
    receiver_id: str, key: Caller, dependencies: Injected, since: Since, dead: DeadOnly = False
) -> JSONResponse:
    """
    Send again all deliveries that one receiver has had since a time, even if they were delivered.

    `gone` counts the deliveries that are not sent, since their job is no longer on record.
    """
    receiver = known(dependencies, receiver_id, key)
    counts = {"redelivered": 0, "open": 0, "gone": 0}
    with clear_errors():
        pages = dependencies.connections.deliveries.pages_to_receiver(
            receiver.tenant, receiver.id, since=parse_instant(since, "since"), state="dead" if dead else ""
        )
        # In small parts, between which Redis answers others.
        for ids in (part for page in pages for part in batched(page, _REDELIVERED_AT_ONCE)):
            outcomes, messages = dependencies.connections.deliveries.redeliver_many(ids)
            dependencies.connections.publisher.publish(messages)
            for outcome in outcomes:
                counts["gone" if outcome == "unknown" else outcome] += 1
    dependencies.note_change(key, "receiver.redeliver", receiver.tenant, ids=[receiver.id], outcomes=counts)
    return JSONResponse(counts)


def _redeliver(dependencies: Dependencies, delivery: str) -> str:
    with clear_errors():
        outcome, messages = dependencies.connections.deliveries.redeliver(delivery)
    dependencies.connections.publisher.publish(messages)
    return outcome
