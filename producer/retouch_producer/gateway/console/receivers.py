"""The pages of receivers: the list, those that fail, and the actions on one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request, Response

from retouch.store import keys
from retouch.store.failing_receivers import FailingReceiver, count_failing, failing_receivers, failures_of
from retouch.store.receivers import Receiver
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.console.changes import record_change
from retouch_producer.gateway.console.deliveries import DeliveryFilters, find_deliveries
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router, done
from retouch_producer.gateway.console.visitors import Acting, SignedIn, Visitor
from retouch_producer.gateway.dependencies import Dependencies, Tools
from retouch_producer.gateway.routes import receivers as api

ROWS, FAILING_MOST, LATEST_MOST = 50, 20, 10

router = console_router()
ScanCursor = Annotated[int, Query(ge=0, lt=2**63)]
"""A cursor of Redis' SSCAN, which is not one of the lists by time."""


@dataclass(frozen=True, slots=True)
class ReceiverRow:
    """One receiver, and its failures, if it has any."""

    receiver: Receiver
    failing: FailingReceiver | None

    @property
    def state(self) -> str:
        """Return `on`, `failing` or `disabled`."""
        return "disabled" if self.receiver.disabled else "failing" if self.failing else "on"


@router.get("/receivers")
def show_receivers(request: Request, visitor: SignedIn, tools: Tools, cursor: ScanCursor = 0) -> Response:
    """Show the receivers that fail, and a page of about fifty receivers in no particular order."""
    index = keys.receivers_by_tenant(visitor.tenant) if visitor.tenant else "rt:receivers"
    with clear_errors():
        following, ids = tools.client.sscan(index, cursor, count=ROWS)
        failing = [] if cursor else failing_receivers(tools.client, visitor.tenant, FAILING_MOST)
        rows = _rows(tools, sorted(ids))
        failing_count = count_failing(tools.client, visitor.tenant)
    return page(
        request,
        "receivers.html",
        visitor,
        rows=rows,
        failing=failing,
        failing_count=failing_count,
        following=f"/console/receivers?cursor={following}" if following else "",
        first="/console/receivers" if cursor else "",
    )


def _rows(tools: Dependencies, ids: list[str]) -> list[ReceiverRow]:
    failures = failures_of(tools.client, ids)
    found = (tools.connections.receivers.get(identity) for identity in ids)
    return [ReceiverRow(receiver, failures.get(receiver.id)) for receiver in found if receiver]


@router.get("/receivers/{receiver_id}")
def show_receiver(request: Request, receiver_id: str, visitor: SignedIn, tools: Tools) -> Response:
    """Show one receiver: its events, how it fails, and its latest deliveries."""
    return _page(request, api.known(tools, receiver_id, visitor.key), visitor, tools)


@router.post("/receivers/{receiver_id}/test")
async def test(
    request: Request, receiver_id: str, visitor: Annotated[Visitor, Depends(Acting("test_receiver"))], tools: Tools
) -> Response:
    """Send a signed test event now and show the answer; it counts for nothing."""
    answer = json.loads(bytes((await api.test_receiver(receiver_id, visitor.key, tools)).body))
    return _page(request, api.known(tools, receiver_id, visitor.key), visitor, tools, answer=answer)


@router.post("/receivers/{receiver_id}/rotate")
def rotate(
    request: Request, receiver_id: str, visitor: Annotated[Visitor, Depends(Acting("rotate_receiver"))], tools: Tools
) -> Response:
    """Make a new secret and show it once; for a day, deliveries are signed with the old one as well."""
    receiver = api.known(tools, receiver_id, visitor.key)
    with clear_errors():
        rotated = tools.connections.receivers.rotate(receiver.id) or receiver
    record_change(tools, visitor, "rotate_receiver", receiver.tenant, ids=[receiver.id])
    return _page(request, rotated, visitor, tools, secret=rotated.secret)


@router.post("/receivers/{receiver_id}/{switch}")
def switch(
    receiver_id: str,
    switch: Literal["enable", "disable"],
    visitor: Annotated[Visitor, Depends(Acting("switch_receiver"))],
    tools: Tools,
) -> Response:
    """Enable a receiver, which also deletes its failures, or disable it: it then gets no new deliveries."""
    receiver = api.known(tools, receiver_id, visitor.key)
    with clear_errors():
        tools.connections.receivers.set_disabled(receiver.id, switch == "disable")
    record_change(tools, visitor, f"receiver.{switch}", receiver.tenant, ids=[receiver.id])
    return done(f"/console/receivers/{receiver.id}")


def _page(
    request: Request,
    receiver: Receiver,
    visitor: Visitor,
    tools: Dependencies,
    *,
    answer: dict[str, Any] | None = None,
    secret: str = "",
) -> Response:
    with clear_errors():
        row = ReceiverRow(receiver, failures_of(tools.client, [receiver.id]).get(receiver.id))
    filters = DeliveryFilters(receiver=receiver.id, tenant=receiver.tenant)
    latest, _ = find_deliveries(tools, visitor, filters, LATEST_MOST)
    return page(
        request, "receiver.html", visitor, row=row, latest=latest, filters=filters, answer=answer, secret=secret
    )
