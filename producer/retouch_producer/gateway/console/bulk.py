"""The pages of bulk runs: the preview with its confirmation, a run with its progress, and the list of past runs."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Form, Query, Request, Response
from pydantic import BaseModel

from retouch.errors import QueueFull
from retouch.query import JobQuery
from retouch.store.bulk import ACTIONS, PRIORITIES, BulkAction, BulkRequest, BulkRun, Preview, read_request
from retouch.store.bulk_chunks import can_match
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.console.changes import actor_of
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router, done
from retouch_producer.gateway.console.visitors import Acting, SignedIn, Visitor
from retouch_producer.gateway.dependencies import Dependencies, Injected
from retouch_producer.gateway.http.auth import query_in_scope
from retouch_producer.gateway.http.errors import ProblemError, not_found
from retouch_producer.gateway.http.request_turns import give_up_turn

RUNS_MOST = 100
NO_WORKER_S = 10.0
"""If no worker has begun a run after this many seconds, its page says that the run waits for a worker."""
OUTCOMES = {
    "cancelled": "cancelled at once",
    "requested": "a call is under way; the job ends with it",
    "final": "was over already",
    "replayed": "waits for its turn again",
    "full backlog": "left: its tenant's backlog is full",
    "full budget": "left: its tenant's budget is spent",
    "newer": "left: it ended after the run was asked for",
    "open": "left: it was under way already",
    "succeeded": "left: it has its image",
    "redelivered": "sent again",
    "gone": "left: no longer on record",
    "changed": "has the new priority",
    "same": "had this priority already",
    "in_flight": "left: it has a slot already",
}

router = console_router()


class BulkForm(BaseModel):
    """An action on all jobs that match the query `q`. `dead` limits the action `redeliver` to dead deliveries."""

    action: str = ""
    q: str = ""
    priority: str = ""
    dead: bool = False

    def request(self, visitor: Visitor) -> BulkRequest:
        """Return the checked request, limited to jobs that the visitor may see. Raises the errors of `read_request`."""
        priority = self.priority if self.action == "priority" else None
        dead = self.dead and self.action == "redeliver"
        return read_request(
            self.action, self.q, priority, dead, time.time(), lambda query: query_in_scope(visitor.key, query)
        )


class ConfirmedForm(BulkForm):
    """
    The form that a person confirmed: the frozen query, and the numbers of the preview, whether complete or not.

    `once` is a token. Two forms with the same token start only one run.
    """

    jobs: int = 0
    deliveries: int = 0
    calls_most: int = 0
    is_complete: bool = True
    once: str = ""

    def covers(self, preview: Preview) -> bool:
        """Return whether each number of `preview` is at most the number that was confirmed."""
        if not self.is_complete:  # then "at least so many" was confirmed, and how far counting comes varies
            return True
        pairs = ((getattr(preview, name), getattr(self, name)) for name in ("jobs", "deliveries", "calls_most"))
        return preview.is_complete and all(would <= confirmed for would, confirmed in pairs)


@dataclass(frozen=True, slots=True)
class BulkBar:
    """
    The bar over a list of jobs, which offers actions on all jobs that match a query.

    `query` is a text in the query language.
    """

    query: str
    actions: tuple[BulkAction, ...]
    priorities: tuple[str, ...] = PRIORITIES


def bulk_bar(query: JobQuery) -> BulkBar:
    """Return the bar for a list of jobs. It offers only actions that can change jobs in the states of the query."""
    offered = tuple(action for action in ACTIONS if can_match(BulkRequest(action, query)))
    return BulkBar(str(query), offered)


@router.get("/bulk")
def show_runs(request: Request, visitor: SignedIn, dependencies: Injected) -> Response:
    """Show the newest runs."""
    with clear_errors():
        runs = dependencies.connections.bulk.store.page(visitor.tenant, RUNS_MOST)
    return page(request, "bulk_runs.html", visitor, runs=runs, most=RUNS_MOST)


@router.get("/bulk/preview")
async def show_preview(
    request: Request,
    visitor: Annotated[Visitor, Depends(Acting("start_bulk"))],
    dependencies: Injected,
    form: Annotated[BulkForm, Query()],
) -> Response:
    """Show how many jobs a run would act on and its highest cost, with the button that starts it. Change nothing."""
    # Counting may take seconds; meanwhile the tenant's other requests have their turns.
    await give_up_turn()
    return await dependencies.bulk.run(visitor.key.tenant, _previewed, request, visitor, dependencies, form)


def _previewed(request: Request, visitor: Visitor, dependencies: Dependencies, form: BulkForm) -> Response:
    asked = form.request(visitor)
    with clear_errors():
        now = dependencies.connections.bulk.store.now()
        frozen = replace(asked, query=asked.query.frozen(now))
        preview = dependencies.connections.bulk.preview(frozen)
    return _preview_page(request, visitor, frozen, preview)


def _preview_page(
    request: Request,
    visitor: Visitor,
    asked: BulkRequest,
    preview: Preview,
    *,
    has_grown: bool = False,
) -> Response:
    return page(
        request,
        "bulk_preview.html",
        visitor,
        asked=asked,
        preview=preview,
        once=secrets.token_hex(12),
        has_grown=has_grown,
        frozen_at=asked.query.until,
    )


@router.post("/bulk")
async def start(
    request: Request,
    visitor: Annotated[Visitor, Depends(Acting("start_bulk"))],
    dependencies: Injected,
    form: Annotated[ConfirmedForm, Form()],
) -> Response:
    """
    Start the run that was confirmed.

    Failure policy: more jobs may match now than at the preview. If a new number is above the confirmed one, no run is
    started, and the page shows the new preview.
    """
    await give_up_turn()
    return await dependencies.bulk.run(visitor.key.tenant, _started, request, visitor, dependencies, form)


def _started(request: Request, visitor: Visitor, dependencies: Dependencies, form: ConfirmedForm) -> Response:
    asked = form.request(visitor)
    bulk = dependencies.connections.bulk
    with clear_errors():
        preview = bulk.preview(asked)
        if not form.covers(preview):
            return _preview_page(request, visitor, asked, preview, has_grown=True)
        try:
            run = bulk.store.create(asked, actor_of(visitor.key), visitor.key.tenant, lambda: preview, form.once)
        except QueueFull as error:
            detail = "the tenant has five open bulk runs; nothing was begun"
            raise ProblemError("too-many-at-once", detail, retry_after_s=error.retry_after_s) from None
    return done(f"/console/bulk/{run.id}")


@router.get("/bulk/{run_id}")
def show_run(request: Request, run_id: str, visitor: SignedIn, dependencies: Injected) -> Response:
    """Show one run: its progress, the outcomes so far, and the button that aborts it."""
    run = _known(dependencies, run_id, visitor)
    return page(
        request,
        "bulk_run.html",
        visitor,
        run=run,
        outcome=request.query_params.get("done", ""),
        waits_for_worker=run.state == "queued" and time.time() - run.created_at > NO_WORKER_S,
        words=OUTCOMES,
    )


@router.post("/bulk/{run_id}/abort")
def abort(run_id: str, visitor: Annotated[Visitor, Depends(Acting("abort_bulk"))], dependencies: Injected) -> Response:
    """Abort a run. Its changes so far are not undone, and the remaining jobs stay as they are."""
    run = _known(dependencies, run_id, visitor)
    with clear_errors():
        outcome = dependencies.connections.bulk.store.abort(run.id, actor_of(visitor.key))
    return done(f"/console/bulk/{run.id}", outcome)


def _known(dependencies: Dependencies, run_id: str, visitor: Visitor) -> BulkRun:
    with clear_errors():
        run = dependencies.connections.bulk.store.find(run_id)
    if run is None or not visitor.sees(run.tenant):
        raise not_found("bulk run")
    return run
