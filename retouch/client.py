"""`EditQueue`: the client with which a Python backend enqueues edits and follows them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias, Unpack, overload

from retouch.options import DEFAULT_TENANT
from retouch.sync_async import iterate_sync, run_sync
from retouch.transport.client_settings import given_values
from retouch.transport.lazy_transport import LazyTransport

if TYPE_CHECKING:  # why these are not imported: retouch.transport.lazy_transport
    from retouch.edit import Edit
    from retouch.events import Event
    from retouch.handles import Job
    from retouch.options import JobOptions, Priority, StateName
    from retouch.settings import Settings
    from retouch.states import JobState
    from retouch.store.audit import Surface
    from retouch.store.bulk import BulkAction, BulkRun, Preview
    from retouch.store.deliveries import DeliveryRecord
    from retouch.store.lanes import LaneNumbers
    from retouch.store.receivers import Receiver
    from retouch.transport.interface import BlockingTransport, EditWithOptions

EditRequest: TypeAlias = "Edit | tuple[Edit, JobOptions]"


class EditQueue:
    """
    The client of a backend that enqueues edits. Threads may share it; make one per process.

    `EditQueue()` reads its settings from the environment (`RETOUCH_…`). `EditQueue("redis://…")` uses a Redis, and
    `EditQueue("https://…", api_key="rtk_…")` uses a gateway; results and errors are the same. Keyword arguments
    override settings from the environment. The audit records `surface` with each change that this process makes. Wrong
    settings raise `SettingsError` here. The first call connects, and also imports most of what a client needs.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        settings: Settings | None = None,
        surface: Surface = "python",
        **overrides: object,
    ) -> None:
        self._lazy = LazyTransport(given_values(url, api_key, settings, overrides), settings, surface)

    @property
    def settings(self) -> Settings:
        """Return the settings of this client."""
        return self._lazy.opened.settings

    @property
    def _transport(self) -> BlockingTransport:
        return self._lazy.opened.transport

    def __repr__(self) -> str:
        return f"EditQueue({self.settings.address!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        if self._lazy.is_open:
            run_sync(self._transport.close())

    def enqueue(self, edit: Edit, **options: Unpack[JobOptions]) -> Job:
        """
        Enqueue one edit and return its job.

        Options are `idempotency_key` (within 24 h, the same request returns the same job), `priority`, `tenant`,
        `deadline_s`, `max_attempts`, `max_charges`, `webhook`, `callback`, `events` and `tags`; see `JobOptions`.

        Raises `InvalidEdit`, `IdempotencyConflict` or `QueueFull` if nothing was enqueued. After `StoreUnavailable`, it
        is not known whether the job was enqueued: repeat the call with the same key.
        """
        return self.enqueue_many([(edit, options)])[0]

    def enqueue_many(self, edits: Iterable[EditRequest], **options: Unpack[JobOptions]) -> list[Job]:
        """
        Enqueue many edits in few round trips, and return their jobs in order.

        An item is an `Edit`, or a pair of an `Edit` and its own options, which replace the common options. If one item
        is invalid, none is enqueued, and `InvalidEdit` names its field as `edits[3].prompt`. Raises
        `IdempotencyConflict` if a key was used before for a different request, and `QueueFull` if a tenant has no room.
        After these two errors, the other items are enqueued.
        """
        from retouch.handles import Job

        results = run_sync(self._transport.enqueue(with_options(edits), options))
        return [Job(one.id, self._transport, replayed=one.kind == "replayed") for one in results]

    def job(self, job_id: str) -> Job:
        """Return a handle on a job; reading an unknown job raises `UnknownJob`."""
        from retouch.handles import Job

        return Job(job_id, self._transport)

    @overload
    def jobs(
        self,
        state: StateName | JobState | None = None,
        *,
        query: str | None = None,
        tenant: str | None = DEFAULT_TENANT,
        since: float = 0.0,
        limit: int = 100,
    ) -> Iterator[Job]: ...

    @overload
    def jobs(
        self, query: str, /, *, tenant: str | None = DEFAULT_TENANT, since: float = 0.0, limit: int = 100
    ) -> Iterator[Job]: ...

    def jobs(
        self,
        state: str | None = None,
        *,
        query: str | None = None,
        tenant: str | None = DEFAULT_TENANT,
        since: float = 0.0,
        limit: int = 100,
    ) -> Iterator[Job]:
        """
        Yield up to `limit` jobs, newest first.

        `state` is the name of a state. If it contains a colon, it is a query. If `query` is given too, a job must match
        both. `tenant` is the owner of the jobs; None means all tenants. Jobs that were enqueued before `since` (Unix
        seconds) are left out.
        """
        from retouch.handles import Job
        from retouch.query import list_query

        found = self._transport.jobs(list_query(state, query, since, time.time()), tenant, limit)
        return (Job(record.id, self._transport) for record in iterate_sync(found))

    def cancel(self, job_id: str) -> str:
        """Cancel a job; return what happened, as `Job.cancel` does."""
        return run_sync(self._transport.cancel(job_id))

    def replay(self, job_id: str) -> str:
        """Enqueue a failed or cancelled job again; return what happened, as `Job.replay` does."""
        return run_sync(self._transport.replay(job_id))

    def approve(self, job_id: str) -> str:
        """Mark the result of a job as approved; return what happened, as `Job.approve` does."""
        return run_sync(self._transport.approve(job_id))

    def unapprove(self, job_id: str) -> str:
        """Take the mark of a job back; return what happened, as `Job.unapprove` does."""
        return run_sync(self._transport.unapprove(job_id))

    def bulk_preview(
        self,
        action: BulkAction,
        query: str,
        *,
        tenant: str | None = DEFAULT_TENANT,
        priority: Priority | None = None,
        dead: bool = False,
    ) -> Preview:
        """
        Return the number of jobs on which `bulk` would act, and the cost; nothing is changed.

        `action` is `cancel`, `replay`, `redeliver` or `priority` (with `priority="high"`, `"normal"` or `"low"`).
        `dead` limits `redeliver` to dead letters. `tenant` applies if the query names no tenant; None means all
        tenants. Raises `InvalidEdit` and `InvalidQuery`.
        """
        from retouch.transport.bulk_interface import BulkAsk

        ask = BulkAsk(action, query, tenant, priority, dead)
        return run_sync(self._transport.bulk.preview(ask))

    def bulk(
        self,
        action: BulkAction,
        query: str,
        *,
        tenant: str | None = DEFAULT_TENANT,
        priority: Priority | None = None,
        dead: bool = False,
        idempotency_key: str = "",
    ) -> BulkRun:
        """
        Start an action on all jobs that match a query, and return the run; workers carry it out.

        `bulk_run(id)` returns its progress. The run ignores jobs that are enqueued, or that end, after this call.
        Raises the errors of `bulk_preview`, and `QueueFull` while the tenant has five open runs.
        """
        from retouch.transport.bulk_interface import BulkAsk

        ask = BulkAsk(action, query, tenant, priority, dead, idempotency_key)
        return run_sync(self._transport.bulk.start(ask))

    def bulk_run(self, run_id: str) -> BulkRun:
        """Return a bulk run, with its progress and the outcomes so far. Raises `UnknownJob` for an unknown id."""
        return run_sync(self._transport.bulk.find(run_id))

    def bulk_runs(self, *, limit: int = 100) -> list[BulkRun]:
        """Return the bulk runs of the last 90 days, newest first, up to `limit`."""
        return run_sync(self._transport.bulk.page(limit))

    def abort_bulk(self, run_id: str) -> str:
        """
        Abort a bulk run; return `aborted`, or `final` if the run was over. What the run has already done to jobs is not
        undone.
        """
        return run_sync(self._transport.bulk.abort(run_id))

    def events(self, after: str = "0", *, limit: int = 1_000) -> list[tuple[str, Event]]:
        """
        Return a page of the feed of all jobs: (cursor, event) pairs that follow the cursor `after`, oldest first.

        Start with `"0"`, then pass the last cursor; an empty page is the end. Events of jobs that are no longer on
        record, and events about receivers, are left out.
        """
        return run_sync(self._transport.events(after, limit))

    def receiver(self, url: str, tenant: str = DEFAULT_TENANT) -> Receiver:
        """
        Return the receiver at a webhook URL, with the secret that verifies its webhooks; create one if there is none.
        """
        return run_sync(self._transport.receiver(url, tenant))

    def deliveries(self, *, dead: bool = False, since: float = 0.0, limit: int = 100) -> list[DeliveryRecord]:
        """Return up to `limit` deliveries with their attempts, newest first; with `dead`, the dead letters only."""
        return run_sync(self._transport.deliveries(dead, since, limit))

    def redeliver(self, deliveries: Sequence[str]) -> dict[str, str]:
        """
        Send deliveries again by hand, and return {delivery id: outcome}.

        The outcome is `redelivered`, or the reason why nothing was sent: `open` (the delivery is still under way),
        `gone` (its job is no longer on record) or `unknown`.
        """
        return {item: run_sync(self._transport.redeliver(item)) for item in deliveries}

    def pause(self, lane: str = "edits") -> None:
        """Stop dispatching in a lane: waiting jobs stay, jobs in flight go on, and nothing is lost."""
        run_sync(self._transport.pause(lane))

    def resume(self, lane: str = "edits") -> None:
        """Dispatch in a lane again, within about a second."""
        run_sync(self._transport.resume(lane))

    def status(self, lane: str = "edits") -> LaneNumbers:
        """Return the numbers of a lane: waiting, in flight, limit, waiting by tenant."""
        return run_sync(self._transport.status(lane))


def with_options(edits: Iterable[EditRequest]) -> list[EditWithOptions]:
    """Return (edit, options) for each item; the options of a bare `Edit` are empty."""
    return [item if isinstance(item, tuple) else (item, {}) for item in edits]
