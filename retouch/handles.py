"""What a backend holds in its hands: a job, and the result of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Self

from retouch.events import Event
from retouch.outcomes import Image
from retouch.states import JobState
from retouch.store.deliveries import DeliveryRecord
from retouch.store.records import JobRecord
from retouch.sync_async import iterate_sync, run_sync
from retouch.transport.interface import Transport
from retouch.transport.job_follower import events_of, images_of


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """
    What is known of an edited image without reading it.

    `size` is (width, height) in pixels, `bytes` the size of the file, `format` PNG, JPEG or WEBP. `index` is its place
    in `results`, which hold every image where `extra` made the endpoint answer with several. `warnings` may hold
    `flat_colour`, `same_as_input`, `flagged`, `odd_status`, `read_our_copy`; those of the first image also
    `output_missing:N`, for each image of the answer that could not be had, and `outputs_beyond_16:N`.
    """

    job_id: str
    images: tuple[Image, ...] = field(repr=False)
    transport: Transport = field(repr=False)
    index: int = 0

    @property
    def results(self) -> tuple[Self, ...]:
        """Every image of the endpoint's answer, in its order; the first is the job's `result`."""
        return tuple(replace(self, index=index) for index in range(len(self.images)))

    @property
    def kept(self) -> Image:
        """The image as the record describes it."""
        return self.images[self.index]

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


class EditResult(ImageFacts):
    """The edited image. It is read, and its `url` minted, when asked for."""

    __slots__ = ()

    @property
    def image(self) -> bytes:
        """The image file's bytes. Raises `BlobError` when the store cannot give them."""
        return run_sync(self.transport.image(self.job_id, self.kept, self.index))

    @property
    def url(self) -> str:
        """A link to the image that the outside can read; it expires."""
        return run_sync(self.transport.link(self.job_id, self.kept, self.index))

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the image to a file and give its path."""
        target = Path(path)
        target.write_bytes(self.image)
        return target


class Job:
    """
    A handle on one job; cheap to make, reads the store when asked.

    `replayed` is true when an idempotency key led to a job that had been enqueued before. Every method raises
    `UnknownJob` for an id that never was or whose retention is over, and `StoreUnavailable` when Redis (or the gateway)
    is silent.
    """

    def __init__(self, identity: str, transport: Transport, *, replayed: bool = False) -> None:
        self.id, self.replayed, self._transport = identity, replayed, transport

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def record(self) -> JobRecord:
        """Read everything on record about the job. A gateway does not tell its policy, deadline and image's name."""
        return run_sync(self._transport.record(self.id))

    @property
    def state(self) -> JobState:
        """Where the job is now."""
        return JobState(self.record().state)

    def cancel(self) -> str:
        """Cancel: `cancelled` now, `requested` when its call is under way (it ends with it), or `final`: too late."""
        return run_sync(self._transport.cancel(self.id))

    def replay(self) -> str:
        """Put a dead letter back: `replayed` (it may cost again); `open` or `succeeded`: nothing happened."""
        return run_sync(self._transport.replay(self.id))

    def result(self, timeout_s: float | None = None) -> EditResult:
        """
        Wait for the image; None waits for ever, 0 looks once.

        Raises `EditFailed`, `EditCancelled`, or `ResultTimeout`, which does not cancel the job.
        """
        return EditResult(self.id, run_sync(images_of(self._transport, self.id, timeout_s)), self._transport)

    def events(self, after: int = -1) -> Iterator[Event]:
        """
        Follow the job: every event with a sequence above `after`, those that happened and those to come.

        Ends behind a final event. The first event is `edit.queued`, sequence 0.
        """
        return iterate_sync(events_of(self._transport, self.id, after))

    def deliveries(self) -> list[DeliveryRecord]:
        """List the job's webhooks and callbacks with all their attempts."""
        return run_sync(self._transport.deliveries_of(self.id))
