"""`EditQueue`: the client with which a Python backend enqueues edits and follows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self, Unpack

from retouch.admission import DEFAULT_TENANT
from retouch.edit import Edit
from retouch.events import Event
from retouch.handles import Job
from retouch.options import JobOptions, StateName
from retouch.settings import Settings
from retouch.states import JobState
from retouch.store.deliveries import DeliveryRecord
from retouch.store.lanes import LaneNumbers
from retouch.store.receivers import Receiver
from retouch.sync_async import iterate_sync, run_sync
from retouch.transport.factory import open_transport, settings_for
from retouch.transport.interface import EditWithOptions

EditRequest = Edit | tuple[Edit, JobOptions]


class EditQueue:
    """
    The client of a backend that enqueues edits. Threads may share it; make one per process.

    `EditQueue()` reads its settings from the environment (`RETOUCH_…`). `EditQueue("redis://…")` uses a Redis, and
    `EditQueue("https://…", api_key="rtk_…")` a gateway, with the same results and errors. Keyword arguments override
    settings from the environment. Nothing connects before the first call.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        settings: Settings | None = None,
        **overrides: object,
    ) -> None:
        self.settings = settings_for(url, api_key, settings, overrides)
        self._transport = open_transport(self.settings)

    def __repr__(self) -> str:
        return f"EditQueue({self.settings.address!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        run_sync(self._transport.close())

    def enqueue(self, edit: Edit, **options: Unpack[JobOptions]) -> Job:
        """
        Enqueue one edit and return its job.

        Options are `idempotency_key` (within 24 h, the same request returns the same job), `priority`, `tenant`,
        `deadline_s`, `max_attempts`, `max_charges`, `webhook`, `callback`, `events` and `tags`; see `JobOptions`.

        Raises `InvalidEdit`, `IdempotencyConflict` or `QueueFull` if nothing was enqueued. After `StoreUnavailable`,
        repeat the call with the same key.
        """
        return self.enqueue_many([(edit, options)])[0]

    def enqueue_many(self, edits: Iterable[EditRequest], **options: Unpack[JobOptions]) -> list[Job]:
        """
        Enqueue many edits, 100 in each round trip, and return their jobs in order.

        An item is an `Edit`, or an `Edit` with options of its own, which override the common ones. If one item is
        invalid, none is enqueued, and `InvalidEdit` names it as `edits[3].prompt`. An idempotency key that came with
        another request raises `IdempotencyConflict`, and a tenant without room `QueueFull`; the other items are then
        enqueued.
        """
        results = run_sync(self._transport.enqueue(with_options(edits), options))
        return [Job(one.id, self._transport, replayed=one.kind == "replayed") for one in results]

    def job(self, job_id: str) -> Job:
        """Return a handle on a job; reading an unknown job raises `UnknownJob`."""
        return Job(job_id, self._transport)

    def jobs(
        self,
        state: StateName | JobState | None = None,
        *,
        tenant: str | None = DEFAULT_TENANT,
        since: float = 0.0,
        limit: int = 100,
    ) -> Iterator[Job]:
        """List jobs, newest first: of one tenant (None for all), in one state, enqueued since a Unix time."""
        found = self._transport.jobs(JobState(state) if state else None, tenant, since, limit)
        return (Job(record.id, self._transport) for record in iterate_sync(found))

    def cancel(self, job_id: str) -> str:
        """Cancel a job; see `Job.cancel`."""
        return run_sync(self._transport.cancel(job_id))

    def replay(self, job_id: str) -> str:
        """Replay a dead letter; see `Job.replay`."""
        return run_sync(self._transport.replay(job_id))

    def events(self, after: str = "0", *, limit: int = 1_000) -> list[tuple[str, Event]]:
        """
        Read a page of the feed of all jobs: (cursor, event) pairs after a cursor, oldest first.

        Start with `"0"`, then pass the last cursor; an empty page is the end. Events of jobs that are gone, and events
        about receivers, are left out.
        """
        return run_sync(self._transport.events(after, limit))

    def receiver(self, url: str, tenant: str = DEFAULT_TENANT) -> Receiver:
        """Return the receiver at a webhook URL, with the secret that verifies its webhooks; a new URL gets one."""
        return run_sync(self._transport.receiver(url, tenant))

    def deliveries(self, *, dead: bool = False, since: float = 0.0, limit: int = 100) -> list[DeliveryRecord]:
        """List deliveries with their attempts, newest first; with `dead`, the dead letters only."""
        return run_sync(self._transport.deliveries(dead, since, limit))

    def redeliver(self, deliveries: Sequence[str]) -> dict[str, str]:
        """
        Send deliveries again by hand; return for each `redelivered`, or why nothing happened.

        Reasons are `open` (it is still under way), `gone` (its job is no longer on record, so there is nothing to send)
        and `unknown`.
        """
        return {item: run_sync(self._transport.redeliver(item)) for item in deliveries}

    def pause(self, lane: str = "edits") -> None:
        """Stop dispatching: jobs wait, those in flight go on, and nothing is lost."""
        run_sync(self._transport.pause(lane))

    def resume(self, lane: str = "edits") -> None:
        """Dispatch again, within about a second."""
        run_sync(self._transport.resume(lane))

    def status(self, lane: str = "edits") -> LaneNumbers:
        """Read the numbers of a lane: waiting, in flight, limit, waiting by tenant."""
        return run_sync(self._transport.status(lane))


def with_options(edits: Iterable[EditRequest]) -> list[EditWithOptions]:
    """Pair every edit with its own options."""
    return [item if isinstance(item, tuple) else (item, {}) for item in edits]
