"""`EditQueue`: how a Python backend enqueues edits and follows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from retouch.connections import Connections
from retouch.edit import Edit
from retouch.errors import InvalidEdit
from retouch.events import Event, event_object
from retouch.feed import read_page
from retouch.handles import Job
from retouch.intake import DEFAULT_TENANT, Options, Terms, admit, agree, refusal
from retouch.settings import Settings
from retouch.states import JobState
from retouch.store.connect import clear_errors
from retouch.store.deliveries import DeliveryRecord
from retouch.store.jobs import NewJob
from retouch.store.lanes import LaneNumbers
from retouch.store.receivers import Receiver

Request = Edit | tuple[Edit, dict[str, Any]]


class EditQueue:
    """
    The queue of edits, from the side that enqueues. Safe to share between threads; make one per process.

    Settings come from the environment (`RETOUCH_…`), with keyword arguments on top: `EditQueue(redis_url=…)`. Nothing
    connects before the first call.
    """

    def __init__(self, redis_url: str | None = None, *, settings: Settings | None = None, **overrides: Any) -> None:
        if redis_url is not None:
            overrides["redis_url"] = redis_url
        self.settings = settings or Settings.load(**overrides)
        self._connections = Connections(self.settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give up the connections; the queue may be used again and then connects again."""
        self._connections.client.close()

    def enqueue(self, edit: Edit, **options: Any) -> Job:
        """
        Put one edit in and give its job.

        Options: `idempotency_key` (24 h: the same request gives the same job), `priority`, `tenant`, `deadline_s`,
        `max_attempts`, `max_charges`, `webhook`, `callback`, `events`, `tags`; see `Options`. Raises `InvalidEdit`
        (nothing was enqueued), `IdempotencyConflict`, `QueueFull`, or `StoreUnavailable` (repeat with the same key).
        """
        return self.enqueue_many([(edit, options)])[0]

    def enqueue_many(self, edits: Iterable[Request], **options: Any) -> list[Job]:
        """
        Put many edits in, 500 to a round trip; gives their jobs in order.

        An item is an `Edit`, or an `Edit` with options of its own over the common ones. One invalid item refuses all:
        `InvalidEdit` names it as `edits[3].prompt`. A repeated idempotency key with another request raises
        `IdempotencyConflict`, and a tenant without room `QueueFull`, after the others are in.
        """
        new = self._admit_all(edits, options)
        with clear_errors():
            verdicts, messages = self._connections.jobs.enqueue(new)
        self._connections.publisher.publish(messages)
        if refused := refusal(new, verdicts):
            raise refused
        return [Job(verdict.id, self._connections, replayed=verdict.kind == "same") for verdict in verdicts]

    def _admit_all(self, edits: Iterable[Request], common: dict[str, Any]) -> list[NewJob]:
        requests = [item if isinstance(item, tuple) else (item, {}) for item in edits]
        shared = self._agree(common) if any(not own for _, own in requests) else None
        new, faults = [], []
        for place, (edit, own) in enumerate(requests):
            try:
                new.append(admit(edit, shared if shared and not own else self._agree({**common, **own})))
            except InvalidEdit as error:
                prefix = f"edits[{place}]." if len(requests) > 1 else ""
                faults += [(prefix + name, message) for name, message in error.faults]
        if faults:
            raise InvalidEdit(faults)
        return new

    def _agree(self, options: dict[str, Any]) -> Terms:
        with clear_errors():
            return agree(_options(options), self.settings, self._connections.receiver_id)

    def job(self, job_id: str) -> Job:
        """Give a handle on a job; `UnknownJob` comes when it is read."""
        return Job(job_id, self._connections)

    def jobs(
        self, state: str | JobState | None = None, *, tenant: str | None = DEFAULT_TENANT, since: float = 0.0,
        limit: int = 100,
    ) -> Iterator[Job]:  # fmt: skip
        """List jobs, newest first: of one tenant (None: of all), in one state, enqueued since a Unix time."""
        wanted = JobState(state) if state else None
        left = limit
        for name in [tenant] if tenant else self._connections.jobs.tenants():
            for record in self._records(name, since):
                if wanted is None or record.state == wanted:
                    if left <= 0:
                        return
                    left -= 1
                    yield Job(record.id, self._connections)

    def _records(self, tenant: str, since: float) -> Iterator[Any]:
        with clear_errors():
            page: list[str] = []
            for identity in self._connections.jobs.ids(tenant, since=since):
                page.append(identity)
                if len(page) == 200:
                    yield from self._connections.jobs.records(page)
                    page = []
            yield from self._connections.jobs.records(page)

    def cancel(self, job_id: str) -> str:
        """Cancel one job; see `Job.cancel`."""
        return self._connections.cancel(job_id)

    def replay(self, job_id: str) -> str:
        """Replay one dead letter; see `Job.replay`."""
        return self._connections.replay(job_id)

    def events(self, after: str = "0", *, limit: int = 1_000) -> list[tuple[str, Event]]:
        """
        Read a page of the feed: (cursor, event) after a cursor, oldest first, of all jobs.

        Start with `"0"`, then pass the last cursor. Events of jobs that are gone, and those about receivers, are left
        out of the page; an empty page is the end.
        """
        with clear_errors():
            entries = read_page(self._connections.client, after, limit)
            records = {
                record.id: record for record in self._connections.jobs.records([e.job for e in entries if e.job])
            }
            page = []
            for entry in entries:
                if entry.job in records:
                    told = self._connections.jobs.timeline(entry.job, entry.sequence - 1)[0]
                    link, price = self._connections.blobs.link, self.settings.price_per_call
                    page.append((entry.cursor, event_object(records[entry.job], told, link, price)))
            return page

    def receiver(self, url: str, tenant: str = DEFAULT_TENANT) -> Receiver:
        """Give the receiver at a webhook URL, with the secret that verifies what it receives; made if it is new."""
        with clear_errors():
            return self._connections.receivers.ensure(tenant, url)

    def deliveries(self, *, dead: bool = False, since: float = 0.0, limit: int = 100) -> list[DeliveryRecord]:
        """List deliveries with their attempts, newest first; `dead`: those that gave up."""
        with clear_errors():
            found = self._connections.deliveries.ids(dead=dead, since=since)
            return self._connections.deliveries.records([item for item, _ in zip(found, range(limit), strict=False)])

    def redeliver(self, deliveries: Sequence[str]) -> dict[str, str]:
        """Send deliveries again by hand; tells for each `redelivered`, `open` (under way) or `unknown`."""
        told = {}
        with clear_errors():
            for item in deliveries:
                told[item], messages = self._connections.deliveries.redeliver(item)
                self._connections.publisher.publish(messages)
        return told

    def pause(self, lane: str = "edits") -> None:
        """Stop dispatching: jobs wait, what is in flight ends, nothing is lost."""
        with clear_errors():
            self._connections.lanes.pause(lane)

    def resume(self, lane: str = "edits") -> None:
        """Dispatch again, within about a second."""
        with clear_errors():
            self._connections.lanes.resume(lane)

    def status(self, lane: str = "edits") -> LaneNumbers:
        """Read how a lane stands: waiting, in flight, limit, waiting by tenant."""
        with clear_errors():
            return self._connections.lanes.numbers(lane)


def _options(values: dict[str, Any]) -> Options:
    if unknown := sorted(values.keys() - set(Options.__dataclass_fields__)):
        raise TypeError(f"unknown option {unknown[0]!r}; known are {', '.join(Options.__dataclass_fields__)}")
    absent = {name for name in ("webhook", "callback", "idempotency_key") if values.get(name) is None}
    given: dict[str, Any] = {name: value for name, value in values.items() if name not in absent}
    return Options(**given)
