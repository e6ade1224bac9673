"""The overview: both lanes, the jobs in slots, failures by code, the calls of today, and findings for operators."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import Annotated, Literal

from fastapi import Depends, Request, Response

from retouch.query import JobQuery
from retouch.states import JobState
from retouch.store import keys
from retouch.store.deliveries import DeliveryRecord
from retouch.store.job_search import JobSearch
from retouch.store.lanes import LANES, LaneNumbers
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.store.worker_presence import WorkerPresence, worker_presence
from retouch_producer.findings import Finding
from retouch_producer.findings.lanes import lane_findings
from retouch_producer.gateway.console.changes import record_change
from retouch_producer.gateway.console.money import Spent, spent_today
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router, done
from retouch_producer.gateway.console.snapshots import Snapshots
from retouch_producer.gateway.console.visitors import Acting, SignedIn, Visitor
from retouch_producer.gateway.dependencies import Dependencies, Tools

CELLS_MOST, LATEST_MOST, FAILURES_MOST = 60, 14, 200
FAILURES_SINCE_S = 86_400.0
_IN_SLOT = ("running", "polling")

router = console_router()
_snapshots = Snapshots["Overview"](keep_s=1.0)


@dataclass(frozen=True, slots=True)
class Overview:
    """One reading for the page, of one tenant or of all; `failures` are the latest of a day, counted by code."""

    lanes: dict[str, LaneNumbers]
    jobs: list[JobRecord]
    deliveries: list[DeliveryRecord]
    latest: list[JobRecord]
    failures: list[tuple[str, int]]
    failures_are_all: bool
    spent: Spent
    findings: list[Finding]
    workers: WorkerPresence

    @property
    def failed(self) -> int:
        """Return how many failures were counted."""
        return sum(number for _, number in self.failures)


@router.get("")
def show_overview(request: Request, visitor: SignedIn, tools: Tools) -> Response:
    """Show the overview; all tabs of a tenant share one reading for a second."""
    with clear_errors():
        overview = _snapshots.get((id(tools), visitor.tenant), lambda: _read(tools, visitor))
    return page(request, "overview.html", visitor, overview=overview, price=tools.settings.price_per_call)


@router.post("/lanes/{lane}/{switch}")
def switch_lane(
    lane: Literal["edits", "deliveries"],
    switch: Literal["pause", "resume"],
    visitor: Annotated[Visitor, Depends(Acting("switch_lane"))],
    tools: Tools,
) -> Response:
    """Pause or resume a lane; what holds a slot continues."""
    with clear_errors():
        (tools.connections.lanes.pause if switch == "pause" else tools.connections.lanes.resume)(lane)
    _snapshots.forget()
    record_change(tools, visitor, f"lane.{switch}", lane=lane)
    return done("/console")


def _read(tools: Dependencies, visitor: Visitor) -> Overview:
    tenants = [visitor.tenant] if visitor.tenant else tools.connections.jobs.tenants()
    failures, are_all = _failures(tools, visitor.tenant)
    query = JobQuery((visitor.tenant,) if visitor.tenant else (), states=("succeeded",))
    return Overview(
        lanes={lane: _numbers(tools, lane, visitor.tenant) for lane in LANES},
        jobs=_jobs_in_slots(tools, visitor.tenant),
        deliveries=[] if visitor.tenant else _deliveries_in_slots(tools),
        latest=JobSearch(tools.connections.jobs).page(query, LATEST_MOST).records,
        failures=failures,
        failures_are_all=are_all,
        spent=spent_today(tools.client, tenants),
        findings=lane_findings(tools.client, visitor.tenant),
        workers=worker_presence(tools.client),
    )


def _numbers(tools: Dependencies, lane: str, tenant: str) -> LaneNumbers:
    if not tenant:
        return tools.connections.lanes.numbers(lane)
    numbers = tools.connections.lanes.numbers_of(lane, tenant)
    failed = tools.connections.jobs.counts_of(tenant).get("failed", 0) if lane == "edits" else 0
    return replace(numbers, dead=failed)


def _jobs_in_slots(tools: Dependencies, tenant: str) -> list[JobRecord]:
    """Return the jobs that hold a slot, oldest start first; for one tenant, only those that a worker claimed."""
    jobs = tools.connections.jobs
    if tenant:
        found = JobSearch(jobs).page(JobQuery((tenant,), states=_IN_SLOT), CELLS_MOST).records
    else:
        found = jobs.records(tools.client.zrange(keys.lane("edits", "slots"), 0, CELLS_MOST - 1))
        found = [record for record in found if not JobState(record.state).is_final]
    return sorted(found, key=lambda record: record.started_at or time.time())


def _deliveries_in_slots(tools: Dependencies) -> list[DeliveryRecord]:
    ids = tools.client.zrange(keys.lane("deliveries", "slots"), 0, CELLS_MOST - 1)
    return tools.connections.deliveries.records(ids)


def _failures(tools: Dependencies, tenant: str) -> tuple[list[tuple[str, int]], bool]:
    """Return the counts by code of the day's latest failures (200 at most), and whether the day had no others."""
    jobs, since = tools.connections.jobs, time.time() - FAILURES_SINCE_S
    if tenant:
        query = JobQuery((tenant,), states=("failed",), since=since)
        records, following, _ = JobSearch(jobs).page(query, FAILURES_MOST)
        are_all = following is None
    else:
        ids = list(islice(jobs.dead(since), FAILURES_MOST + 1))
        records, are_all = jobs.records(ids[:FAILURES_MOST]), len(ids) <= FAILURES_MOST
    codes = Counter(record.error.code for record in records if record.error)
    return codes.most_common(), are_all
