"""The pages of receivers: the list with the failing receivers, and one receiver with its actions."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Request, Response

from retouch.store.failing_receivers import FailingReceiver, count_failing, failing_receivers, failures_of
from retouch.store.receiver_health import HealthPoint, receiver_health
from retouch.store.receivers import Receiver
from retouch.store.redis_client import clear_errors
from retouch_producer.findings.receiver_health import health_text, latency_text
from retouch_producer.gateway.console.changes import record_change
from retouch_producer.gateway.console.deliveries import DeliveryFilters, find_deliveries
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router, done
from retouch_producer.gateway.console.visitors import Acting, SignedIn, Visitor
from retouch_producer.gateway.console.wording import instant
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.parameters import PageCursor
from retouch_producer.gateway.routes import receivers as api

ROWS, FAILING_MOST, LATEST_MOST = 50, 20, 10
LATENCY_STEPS_S = (0.1, 0.3, 1.0, 3.0)

router = console_router()


@dataclass(frozen=True, slots=True)
class ReceiverRow:
    """One receiver. `failing` describes its failures, and is None if it does not fail."""

    receiver: Receiver
    failing: FailingReceiver | None

    @property
    def state(self) -> str:
        """Return `on`, `failing` or `disabled`."""
        return "disabled" if self.receiver.disabled else "failing" if self.failing else "on"


@router.get("/receivers")
def show_receivers(request: Request, visitor: SignedIn, dependencies: Injected, cursor: PageCursor = "") -> Response:
    """Show the receivers that fail, and a page of fifty receivers, sorted by id."""
    with clear_errors():
        receivers, following = api.receivers_page(dependencies, visitor.tenant, ROWS, cursor)
        failing = [] if cursor else failing_receivers(dependencies.client, visitor.tenant, FAILING_MOST)
        failures = failures_of(dependencies.client, [receiver.id for receiver in receivers])
        failing_count = count_failing(dependencies.client, visitor.tenant)
    return page(
        request,
        "receivers.html",
        visitor,
        rows=[ReceiverRow(receiver, failures.get(receiver.id)) for receiver in receivers],
        failing=failing,
        failing_count=failing_count,
        following=f"/console/receivers?cursor={following}" if following else "",
        first="/console/receivers" if cursor else "",
    )


@router.get("/receivers/{receiver_id}")
def show_receiver(request: Request, receiver_id: str, visitor: SignedIn, dependencies: Injected) -> Response:
    """Show one receiver: its events, how it fails, its health over time, and its latest deliveries."""
    return _page(request, api.known(dependencies, receiver_id, visitor.key), visitor, dependencies)


@router.post("/receivers/{receiver_id}/test")
async def test(
    request: Request,
    receiver_id: str,
    visitor: Annotated[Visitor, Depends(Acting("test_receiver"))],
    dependencies: Injected,
) -> Response:
    """Send a signed test event now and show the receiver's answer. The answer changes nothing about the receiver."""
    answer = json.loads(bytes((await api.test_receiver(receiver_id, visitor.key, dependencies)).body))
    return _page(request, api.known(dependencies, receiver_id, visitor.key), visitor, dependencies, answer=answer)


@router.post("/receivers/{receiver_id}/rotate")
def rotate(
    request: Request,
    receiver_id: str,
    visitor: Annotated[Visitor, Depends(Acting("rotate_receiver"))],
    dependencies: Injected,
) -> Response:
    """Make a new secret and show it once. For a day, deliveries are signed with the old secret as well."""
    receiver = api.known(dependencies, receiver_id, visitor.key)
    with clear_errors():
        rotated = dependencies.connections.receivers.rotate(receiver.id) or receiver
    record_change(dependencies, visitor, "receiver.rotate", receiver.tenant, ids=[receiver.id])
    return _page(request, rotated, visitor, dependencies, secret=rotated.secret)


@router.post("/receivers/{receiver_id}/{switch}")
def switch(
    receiver_id: str,
    switch: Literal["enable", "disable"],
    visitor: Annotated[Visitor, Depends(Acting("switch_receiver"))],
    dependencies: Injected,
) -> Response:
    """Enable or disable a receiver. Enabling also deletes its failures. A disabled receiver gets no new deliveries."""
    receiver = api.known(dependencies, receiver_id, visitor.key)
    with clear_errors():
        dependencies.connections.receivers.set_disabled(receiver.id, switch == "disable")
    record_change(dependencies, visitor, f"receiver.{switch}", receiver.tenant, ids=[receiver.id])
    return done(f"/console/receivers/{receiver.id}")


def _page(
    request: Request,
    receiver: Receiver,
    visitor: Visitor,
    dependencies: Dependencies,
    *,
    answer: dict[str, Any] | None = None,
    secret: str = "",
) -> Response:
    with clear_errors():
        row = ReceiverRow(receiver, failures_of(dependencies.client, [receiver.id]).get(receiver.id))
        health = receiver_health(dependencies.connections.deliveries, receiver)
    filters = DeliveryFilters(receiver=receiver.id, tenant=receiver.tenant)
    latest, _ = find_deliveries(dependencies, visitor, filters, LATEST_MOST)
    return page(
        request,
        "receiver.html",
        visitor,
        row=row,
        health=health,
        health_text=health_text(health),
        beats=[_beat(point) for point in health.points],
        latest=latest,
        filters=filters,
        answer=answer,
        secret=secret,
    )


def _beat(point: HealthPoint) -> tuple[str, str]:
    """Return the class of a delivery's column, whose height is its latency, and the words beside the pointer."""
    latency_s = point.latency_s
    height = f" lag-{bisect_left(LATENCY_STEPS_S, latency_s)}" if latency_s is not None else ""
    is_retried = point.outcome == "retried"
    words: list[str] = ["delivered" if is_retried else point.outcome]
    if point.failed:
        words.append(f"{point.failed} failed{' before' if is_retried else ''}")
    if latency_s is not None:
        words.append(latency_text(latency_s))
    if point.created_at:
        words.append(f"{instant(point.created_at)} UTC")
    return f"beat {point.outcome}{height}", ", ".join(words)
