"""The overview: both lanes, the jobs in slots, plots of the recent past, the calls of today, and the findings."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from fastapi import Depends, Query, Request, Response

from retouch.query import JobQuery
from retouch.states import JobState
from retouch.store import keys
from retouch.store.deliveries import DeliveryRecord
from retouch.store.job_search import JobSearch
from retouch.store.lanes import LANES, LaneNumbers
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.store.state_counts import ended_jobs
from retouch.store.worker_presence import WorkerPresence, worker_presence
from retouch_producer.findings import Finding
from retouch_producer.findings.lanes import lane_findings
from retouch_producer.findings.workers import version_findings
from retouch_producer.gateway.console.changes import record_change
from retouch_producer.gateway.console.money import Spent, amount_at_most, spent_today
from retouch_producer.gateway.console.plots import RANGES, Plots, RangeName, read_plots
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router, done
from retouch_producer.gateway.console.snapshots import Snapshots
from retouch_producer.gateway.console.visitors import Acting, SignedIn, Visitor
from retouch_producer.gateway.dependencies import Dependencies, Injected

CELLS_MOST, LATEST_MOST = 60, 14
_IN_SLOT = ("running", "polling")

router = console_router()
_snapshots = Snapshots["Overview"](keep_s=1.0)
_plots = Snapshots[Plots](keep_s=1.0)


@dataclass(frozen=True, slots=True)
class Overview:
    """The numbers and records that the overview shows, of one tenant or of all tenants."""

    lanes: dict[str, LaneNumbers]
    jobs: list[JobRecord]
    deliveries: list[DeliveryRecord]
    latest: list[JobRecord]
    spent: Spent
    amount: float
    findings: list[Finding]
    workers: WorkerPresence


@router.get("")
def show_overview(
    request: Request,
    visitor: SignedIn,
    dependencies: Injected,
    span: Annotated[RangeName, Query(alias="range")] = "hour",
    view: Literal["plots", "table"] = "plots",
) -> Response:
    """
    Show the overview, with plots or tables of a time range.

    The numbers are cached for a second. All tabs of a tenant share them.
    """
    price, tenant = dependencies.settings.price_per_call, visitor.tenant
    with clear_errors():
        overview = _snapshots.get((id(dependencies), tenant), lambda: _read(dependencies, visitor))
        plots = _plots.get(
            (id(dependencies), tenant, span), lambda: read_plots(dependencies.client, price, span, tenant)
        )
    return page(
        request,
        "overview.html",
        visitor,
        overview=overview,
        plots=plots,
        ranges=RANGES,
        span=span,
        view=view,
    )


@router.post("/lanes/{lane}/{switch}")
def switch_lane(
    lane: Literal["edits", "deliveries"],
    switch: Literal["pause", "resume"],
    visitor: Annotated[Visitor, Depends(Acting("switch_lane"))],
    dependencies: Injected,
) -> Response:
    """Pause or resume a lane. Work that holds a slot continues."""
    with clear_errors():
        (dependencies.connections.lanes.pause if switch == "pause" else dependencies.connections.lanes.resume)(lane)
    _snapshots.forget()
    _plots.forget()
    record_change(dependencies, visitor, f"lane.{switch}", lane=lane)
    return done("/console")


def _read(dependencies: Dependencies, visitor: Visitor) -> Overview:
    tenants = [visitor.tenant] if visitor.tenant else dependencies.connections.jobs.tenants()
    query = JobQuery((visitor.tenant,) if visitor.tenant else (), states=("succeeded",))
    workers = worker_presence(dependencies.client)
    of_workers = [] if visitor.tenant else version_findings(workers)
    spent, price = spent_today(dependencies.client, tenants), dependencies.settings.price_per_call
    return Overview(
        lanes={lane: _numbers(dependencies, lane, visitor.tenant) for lane in LANES},
        jobs=_jobs_in_slots(dependencies, visitor.tenant),
        deliveries=[] if visitor.tenant else _deliveries_in_slots(dependencies),
        latest=JobSearch(dependencies.connections.jobs).page(query, LATEST_MOST).records,
        spent=spent,
        amount=amount_at_most(dependencies.client, tenants, spent, price),
        findings=[*lane_findings(dependencies.client, visitor.tenant), *of_workers],
        workers=workers,
    )


def _numbers(dependencies: Dependencies, lane: str, tenant: str) -> LaneNumbers:
    if not tenant:
        return dependencies.connections.lanes.numbers(lane)
    numbers = dependencies.connections.lanes.numbers_of(lane, tenant)
    failed = ended_jobs(dependencies.connections.blocking_client, tenant).get("failed", 0) if lane == "edits" else 0
    return replace(numbers, dead=failed)


def _jobs_in_slots(dependencies: Dependencies, tenant: str) -> list[JobRecord]:
    """
    Return the jobs that hold a slot, sorted by start. With a `tenant`, return only jobs that a worker has claimed.
    """
    jobs = dependencies.connections.jobs
    if tenant:
        found = JobSearch(jobs).page(JobQuery((tenant,), states=_IN_SLOT), CELLS_MOST).records
    else:
        found = jobs.records(dependencies.client.zrange(keys.lane("edits", "slots"), 0, CELLS_MOST - 1))
        found = [record for record in found if not JobState(record.state).is_final]
    return sorted(found, key=lambda record: record.started_at or time.time())


def _deliveries_in_slots(dependencies: Dependencies) -> list[DeliveryRecord]:
    ids = dependencies.client.zrange(keys.lane("deliveries", "slots"), 0, CELLS_MOST - 1)
    return dependencies.connections.deliveries.records(ids)
