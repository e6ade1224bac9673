"""What a backend holds in its hands: a job, and the result of one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from retouch.blobs import BlobStore
from retouch.connections import Connections
from retouch.errors import EditCancelled, EditFailed, ResultTimeout, UnknownJob
from retouch.events import Event, event_object, queued_event
from retouch.outcomes import Image
from retouch.states import FINAL_EVENTS, JobState
from retouch.store.connect import clear_errors
from retouch.store.deliveries import DeliveryRecord
from retouch.store.records import JobRecord

_RECHECK_S = 15.0  # the feed wakes us; this is for a feed that was cut by an outage


@dataclass(frozen=True, slots=True)
class EditResult:
    """
    The edited image.

    `size` is (width, height) in pixels, `bytes` the size of the file, `format` PNG, JPEG or WEBP; `warnings` may hold
    `flat_colour`, `same_as_input`, `flagged`. `url` is minted when asked for.
    """

    kept: Image
    blobs: BlobStore

    @property
    def image(self) -> bytes:
        """The image file's bytes, read from the blob store."""
        return self.blobs.get(self.kept.name)

    @property
    def url(self) -> str:
        """A link to the image that the outside can read."""
        return self.blobs.link(self.kept.name)

    @property
    def sha256(self) -> str:
        """The hash of the bytes, in hex."""
        return self.kept.sha256

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.kept.width, self.kept.height

    @property
    def bytes(self) -> int:
        """How large the file is, in bytes."""
        return self.kept.bytes

    @property
    def format(self) -> str:
        """PNG, JPEG or WEBP."""
        return self.kept.format

    @property
    def warnings(self) -> tuple[str, ...]:
        """What looked odd about the image; empty as a rule."""
        return self.kept.warnings

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the image to a file and give its path."""
        target = Path(path)
        target.write_bytes(self.image)
        return target


class Job:
    """
    A handle on one job; cheap to make, reads the store when asked.

    `replayed` is true when an idempotency key led to a job that had been enqueued before. Every method raises
    `UnknownJob` for an id that never was or whose retention is over, and `StoreUnavailable` when Redis is silent.
    """

    def __init__(self, identity: str, connections: Connections, *, replayed: bool = False) -> None:
        self.id, self.replayed, self._connections = identity, replayed, connections

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def record(self) -> JobRecord:
        """Read everything on record about the job."""
        with clear_errors():
            found = self._connections.jobs.record(self.id)
        if found is None:
            raise UnknownJob(f"job {self.id} is not on record: it never was, or its retention is over")
        return found

    @property
    def state(self) -> JobState:
        """Where the job is now."""
        return JobState(self.record().state)

    def cancel(self) -> str:
        """Cancel: `cancelled` now, `requested` when its call is under way (it ends with it), or `final`: too late."""
        return self._connections.cancel(self.id)

    def replay(self) -> str:
        """Put a dead letter back: `replayed` (it may cost again); `open` or `succeeded`: nothing happened."""
        return self._connections.replay(self.id)

    def result(self, timeout_s: float | None = None) -> EditResult:
        """
        Wait for the image; None waits for ever, 0 looks once.

        Raises `EditFailed`, `EditCancelled`, or `ResultTimeout`, which does not cancel the job.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        with clear_errors(), self._connections.listener.follow(self.id) as changed:
            while not JobState((record := self.record()).state).is_final:
                left_s = _RECHECK_S if end is None else min(_RECHECK_S, end - time.monotonic())
                if left_s <= 0:
                    raise ResultTimeout(self.id, record.state, timeout_s or 0.0)
                changed.wait(left_s)
                changed.clear()
        return self._outcome(record)

    def _outcome(self, record: JobRecord) -> EditResult:
        if record.state == JobState.CANCELLED:
            raise EditCancelled(self.id, record.cancelled)
        if record.result is None:
            error = record.error or {"code": "unknown", "message": "no reason is on record", "retryable": False}
            possible = sum(charge.possible for charge in record.charges)
            raise EditFailed(self.id, error["code"], error["message"], error["retryable"], possible)
        warnings = tuple(record.result["warnings"])
        return EditResult(Image(**{**record.result, "warnings": warnings}), self._connections.blobs)

    def events(self, after: int = -1) -> Iterator[Event]:
        """
        Follow the job: every event with a sequence above `after`, those that happened and those to come.

        Ends behind a final event. The first event is `edit.queued`, sequence 0.
        """
        price = self._connections.settings.price_per_call
        with clear_errors(), self._connections.listener.follow(self.id) as changed:
            record = self.record()
            if after < 0:
                yield queued_event(record, price)
            while True:
                entries = self._connections.jobs.timeline(self.id, max(after, 0))
                record = self.record()
                for entry in entries:
                    after = int(str(entry["sequence"]))
                    yield event_object(record, entry, self._connections.blobs.link, price)
                if entries and entries[-1]["type"] in FINAL_EVENTS:
                    return
                if not entries and JobState(record.state).is_final:
                    return
                changed.wait(_RECHECK_S)
                changed.clear()

    def deliveries(self) -> list[DeliveryRecord]:
        """List the job's webhooks and callbacks with all their attempts."""
        with clear_errors():
            return self._connections.deliveries.of_job(self.id)
