"""`EditQueue`: how a Python backend enqueues edits and follows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from retouch.access.interface import Asked
from retouch.access.opening import open_access, settings_for
from retouch.both_ways import at_once, each_at_once
from retouch.edit import Edit
from retouch.events import Event
from retouch.handles import Job
from retouch.intake import DEFAULT_TENANT
from retouch.options import JobOptions, StateName
from retouch.settings import Settings
from retouch.states import JobState
from retouch.store.deliveries import DeliveryRecord
from retouch.store.lanes import LaneNumbers
from retouch.store.receivers import Receiver
from retouch.waiting import InThread

Request = Edit | tuple[Edit, JobOptions]


class EditQueue:
    """
    The queue of edits, from the side that enqueues. Safe to share between threads; make one per process.

    `EditQueue()` takes its settings from the environment (`RETOUCH_…`), `EditQueue("redis://…")` a Redis, and
    `EditQueue("https://…", api_key="rtk_…")` a gateway, with the same results and errors. Keyword arguments are
    settings that go over the environment's. Nothing connects before the first call.
    """

    def __init__(
        self, url: str | None = None, *, api_key: str | None = None, settings: Settings | None = None, **overrides: Any
    ) -> None:
        self.settings = settings_for(url, api_key, settings, overrides)
        self._access = open_access(self.settings, InThread())

    def __repr__(self) -> str:
        return f"EditQueue({self.settings.address!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give up the connections; the queue may be used again and then connects again."""
        at_once(self._access.close())

    def enqueue(self, edit: Edit, **options: Unpack[JobOptions]) -> Job:
        """
        Put one edit in and give its job.

        Options: `idempotency_key` (24 h: the same request gives the same job), `priority`, `tenant`, `deadline_s`,
        `max_attempts`, `max_charges`, `webhook`, `callback`, `events`, `tags`; see `JobOptions`. Raises `InvalidEdit`
        (nothing was enqueued), `IdempotencyConflict`, `QueueFull`, or `StoreUnavailable` (repeat with the same key).
        """
        return self.enqueue_many([(edit, options)])[0]

    def enqueue_many(self, edits: Iterable[Request], **options: Unpack[JobOptions]) -> list[Job]:
        """
        Put many edits in, 500 to a round trip; gives their jobs in order.

        An item is an `Edit`, or an `Edit` with options of its own over the common ones. One invalid item refuses all:
        `InvalidEdit` names it as `edits[3].prompt`. A repeated idempotency key with another request raises
        `IdempotencyConflict`, and a tenant without room `QueueFull`, after the others are in.
        """
        results = at_once(self._access.enqueue(asked(edits), dict(options)))
        return [Job(one.id, self._access, replayed=one.kind == "replayed") for one in results]

    def job(self, job_id: str) -> Job:
        """Give a handle on a job; `UnknownJob` comes when it is read."""
        return Job(job_id, self._access)

    def jobs(
        self,
        state: StateName | JobState | None = None,
        *,
        tenant: str | None = DEFAULT_TENANT,
        since: float = 0.0,
        limit: int = 100,
    ) -> Iterator[Job]:
        """List jobs, newest first: of one tenant (None: of all), in one state, enqueued since a Unix time."""
        found = self._access.jobs(JobState(state) if state else None, tenant, since, limit)
        return (Job(record.id, self._access) for record in each_at_once(found))

    def cancel(self, job_id: str) -> str:
        """Cancel one job; see `Job.cancel`."""
        return at_once(self._access.cancel(job_id))

    def replay(self, job_id: str) -> str:
        """Replay one dead letter; see `Job.replay`."""
        return at_once(self._access.replay(job_id))

    def events(self, after: str = "0", *, limit: int = 1_000) -> list[tuple[str, Event]]:
        """
        Read a page of the feed: (cursor, event) after a cursor, oldest first, of all jobs.

        Start with `"0"`, then pass the last cursor. Events of jobs that are gone, and those about receivers, are left
        out of the page; an empty page is the end.
        """
        return at_once(self._access.events(after, limit))

    def receiver(self, url: str, tenant: str = DEFAULT_TENANT) -> Receiver:
        """Give the receiver at a webhook URL, with the secret that verifies what it receives; made if it is new."""
        return at_once(self._access.receiver(url, tenant))

    def deliveries(self, *, dead: bool = False, since: float = 0.0, limit: int = 100) -> list[DeliveryRecord]:
        """List deliveries with their attempts, newest first; `dead`: those that gave up."""
        return at_once(self._access.deliveries(dead, since, limit))

    def redeliver(self, deliveries: Sequence[str]) -> dict[str, str]:
        """
        Send deliveries again by hand; tells for each `redelivered`, or why it was left: `open` (it is under way),
        `gone` (its job is no longer on record, so the event cannot be built) or `unknown`.
        """
        return {item: at_once(self._access.redeliver(item)) for item in deliveries}

    def pause(self, lane: str = "edits") -> None:
        """Stop dispatching: jobs wait, what is in flight ends, nothing is lost."""
        at_once(self._access.pause(lane))

    def resume(self, lane: str = "edits") -> None:
        """Dispatch again, within about a second."""
        at_once(self._access.resume(lane))

    def status(self, lane: str = "edits") -> LaneNumbers:
        """Read how a lane stands: waiting, in flight, limit, waiting by tenant."""
        return at_once(self._access.status(lane))


def asked(edits: Iterable[Request]) -> list[Asked]:
    """Pair every edit with the options of its own."""
    return [(item[0], dict(item[1])) if isinstance(item, tuple) else (item, {}) for item in edits]
