"""The pages of deliveries: the list, one delivery with its attempts, and redelivery."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel

from retouch.query import JobQuery
from retouch.states import DeliveryState
from retouch.store.audit import CHANGES
from retouch.store.deliveries import DeliveryRecord
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.console.changes import record_change
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router, done
from retouch_producer.gateway.console.visitors import Acting, SignedIn, Visitor
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import scope
from retouch_producer.gateway.http.body import parse_instant
from retouch_producer.gateway.http.errors import ProblemError, not_found
from retouch_producer.gateway.routes import deliveries as api

ROWS = 30
STATES = tuple(DeliveryState)

router = console_router()


class DeliveryFilters(BaseModel):
    """The filters in the query of the list's address. An empty filter matches everything."""

    state: Literal["", "queued", "running", "retrying", "delivered", "dead"] = ""
    receiver: str = ""
    tenant: str = ""
    since: str = ""
    cursor: str = ""

    def address(self, **changes: str) -> str:
        """
        Return the address of the list after `changes` to its filters.

        Unless `changes` has a cursor, the address leads to the first page.
        """
        given = {name: value for name, value in {**self.model_dump(), "cursor": "", **changes}.items() if value}
        return f"/console/deliveries?{urlencode(given)}" if given else "/console/deliveries"

    @property
    def is_narrowed(self) -> bool:
        """Return whether any filter except the state is set."""
        return any((self.receiver, self.tenant, self.since))


@router.get("/deliveries")
def show_deliveries(
    request: Request, visitor: SignedIn, dependencies: Injected, filters: Annotated[DeliveryFilters, Query()]
) -> Response:
    """Show a page of deliveries, newest first."""
    found, following = find_deliveries(dependencies, visitor, filters, ROWS)
    return page(
        request,
        "deliveries.html",
        visitor,
        filters=filters,
        deliveries=found,
        following=filters.address(cursor=following) if following else "",
        states=STATES,
        jobs_query=_jobs_query(filters),
    )


def _jobs_query(filters: DeliveryFilters) -> str:
    """
    Return the query for the jobs of the shown deliveries. The state is left out, since the states of jobs differ from
    those of deliveries.
    """
    query = JobQuery(
        tenants=(filters.tenant,) if filters.tenant else (),
        receivers=(filters.receiver,) if filters.receiver else (),
        since=parse_instant(filters.since, "since"),
    )
    return str(query)


def find_deliveries(
    dependencies: Dependencies, visitor: Visitor, filters: DeliveryFilters, limit: int
) -> tuple[list[DeliveryRecord], str | None]:
    """Return a page of deliveries that the visitor may see, and the cursor of the next page, or None at the end."""
    tenant = scope(visitor.key, filters.tenant or None)
    wanted = api.DeliveryFilter(tenant, filters.state, filters.receiver, filters.since)
    return api.find_deliveries(dependencies, wanted, filters.cursor, limit)


@router.get("/deliveries/{delivery_id}")
def show_delivery(request: Request, delivery_id: str, visitor: SignedIn, dependencies: Injected) -> Response:
    """Show one delivery with its attempts and the answer to each."""
    delivery = _known(dependencies, delivery_id, visitor)
    outcome = request.query_params.get("done", "")
    return page(request, "delivery.html", visitor, delivery=delivery, outcome=outcome)


@router.post("/deliveries/{delivery_id}/redeliver")
def redeliver(
    delivery_id: str, visitor: Annotated[Visitor, Depends(Acting("redeliver"))], dependencies: Injected
) -> Response:
    """Send one delivery again, signed with the current secret."""
    delivery = _known(dependencies, delivery_id, visitor)
    with clear_errors():
        outcome, messages = dependencies.connections.deliveries.redeliver(delivery.id)
    if outcome == "unknown":
        raise not_found("delivery")
    if outcome == "gone":
        raise ProblemError("conflict", "the job of this delivery is no longer on record; nothing was sent")
    dependencies.connections.publisher.publish(messages)
    if outcome in CHANGES:
        record_change(dependencies, visitor, "delivery.redeliver", delivery.tenant, ids=[delivery.id], outcome=outcome)
    return done(f"/console/deliveries/{delivery.id}", outcome)


def _known(dependencies: Dependencies, identity: str, visitor: Visitor) -> DeliveryRecord:
    with clear_errors():
        found = next(iter(dependencies.connections.deliveries.records([identity])), None)
    if found is None or not visitor.sees(found.tenant):
        raise not_found("delivery")
    return found
