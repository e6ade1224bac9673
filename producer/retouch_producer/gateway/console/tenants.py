"""The pages of tenants: limits, waiting jobs, and calls by day, by tag and by use."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Form, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from retouch.store.lanes import LEAST_WEIGHT, MOST_WEIGHT
from retouch.store.redis_client import clear_errors
from retouch.store.state_counts import ended_jobs
from retouch.store.tenants import Tenant
from retouch_producer.gateway.console.changes import record_change
from retouch_producer.gateway.console.money import (
    Spent,
    amount_at_most,
    spent_by_day,
    spent_by_tag,
    spent_today,
    total_of,
)
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router, done
from retouch_producer.gateway.console.visitors import Acting, SignedIn, Visitor
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.errors import not_found

ROWS, DAYS, TAG_DAYS, TAGS_MOST = 30, 30, 7, 30
_MOST = 1_000_000_000

router = console_router()


@dataclass(frozen=True, slots=True)
class TenantRow:
    """One tenant. `budget` is (calls allowed, spent, reserved) of today, or None if the tenant has no budget."""

    tenant: Tenant
    waiting: int
    budget: tuple[int, int, int] | None
    spent: Spent


class Limits(BaseModel):
    """The form with a tenant's limits. 0 or an empty field removes a limit."""

    weight: float = Field(1.0, ge=LEAST_WEIGHT, le=MOST_WEIGHT)
    in_flight_limit: int = Field(0, ge=0, le=10_000)
    backlog_limit: int = Field(0, ge=0, le=_MOST)
    budget: int = Field(0, ge=0, le=_MOST)


@router.get("/tenants")
def show_tenants(request: Request, visitor: SignedIn, dependencies: Injected, after: str = "") -> Response:
    """Show a page of tenants, sorted by name. A producer is redirected to the page of its own tenant."""
    if visitor.tenant:
        return RedirectResponse(f"/console/tenants/{visitor.tenant}", 303)
    with clear_errors():
        names = dependencies.connections.jobs.tenants()
        start = bisect_right(names, after) if after else 0
        waiting = dependencies.connections.lanes.numbers("edits").waiting_by_group
        shown = names[start : start + ROWS]
        rows = [_row(dependencies, name, waiting.get(name, 0)) for name in shown]
        today = spent_today(dependencies.client, names)
        amount = amount_at_most(dependencies.client, names, today, dependencies.settings.price_per_call)
    following = f"/console/tenants?after={shown[-1]}" if names[start + ROWS :] else ""
    first = "/console/tenants" if after else ""
    return page(
        request, "tenants.html", visitor, rows=rows, today=today, amount=amount, following=following, first=first
    )


def _row(dependencies: Dependencies, name: str, waiting: int) -> TenantRow:
    spent = spent_today(dependencies.client, [name])
    return TenantRow(dependencies.tenants.tenant(name), waiting, dependencies.ledger.budget(name), spent)


@router.get("/tenants/{tenant}")
def show_tenant(request: Request, tenant: str, visitor: SignedIn, dependencies: Injected) -> Response:
    """Show one tenant: limits, waiting jobs, calls of 30 days, and calls by tag of 7 days."""
    _refuse_unseen(tenant, visitor, dependencies)
    with clear_errors():
        lane = dependencies.connections.lanes.numbers_of("edits", tenant)
        row = _row(dependencies, tenant, lane.waiting)
        days = spent_by_day(dependencies.client, tenant, DAYS)
        total, price = total_of(day.spent for day in days), dependencies.settings.price_per_call
        amount = amount_at_most(dependencies.client, [tenant], total, price, days=DAYS)
        tags = spent_by_tag(dependencies.client, tenant, TAG_DAYS, TAGS_MOST)
        ended = ended_jobs(dependencies.connections.blocking_client, tenant)
    return page(
        request,
        "tenant.html",
        visitor,
        row=row,
        lane=lane,
        ended=ended,
        days=days,
        plot=[[day.name, *(number for _, number, _, _ in day.spent.parts)] for day in days],
        tags=tags,
        total=total,
        amount=amount,
        shown_days=[day for day in reversed(days) if day.spent.total],
    )


@router.post("/tenants/{tenant}/limits")
def set_limits(
    tenant: str,
    visitor: Annotated[Visitor, Depends(Acting("set_limits"))],
    dependencies: Injected,
    limits: Annotated[Limits, Form()],
) -> Response:
    """Change a tenant's limits. They apply from the next request on."""
    _refuse_unseen(tenant, visitor, dependencies)
    with clear_errors():
        dependencies.tenants.set_tenant(tenant, **limits.model_dump())
    record_change(dependencies, visitor, "tenant.limits", tenant, limits=limits.model_dump())
    return done(f"/console/tenants/{tenant}")


def _refuse_unseen(tenant: str, visitor: Visitor, dependencies: Dependencies) -> None:
    with clear_errors():
        if not visitor.sees(tenant) or tenant not in dependencies.connections.jobs.tenants():
            raise not_found("tenant")
