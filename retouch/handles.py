"""The objects that a backend works with: a job, and its result."""

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
    The facts about an edited image that are known without reading it.

    `size` is (width, height) in pixels, `bytes` is the size of the file, and `format` is PNG, JPEG or WEBP. `index` is
    the position of the image in `results`, from 0. `results` has several images if `extra` made the endpoint return
    several. `warnings` may contain `flat_colour`, `same_as_input`, `flagged`, `odd_status` and `read_our_copy`. The
    first image may have two more warnings. `output_missing:N` means that the image with index N could not be
    downloaded. `outputs_beyond_16:N` means that the answer had N images.
    """

    job_id: str
    images: tuple[Image, ...] = field(repr=False)
    transport: Transport = field(repr=False)
    index: int = 0

    @property
    def results(self) -> tuple[Self, ...]:
        """
        Return every image of the endpoint's answer, in the order of the answer; the first image is the job's `result`.
        """
        return tuple(replace(self, index=index) for index in range(len(self.images)))

    @property
    def stored(self) -> Image:
        """Return the image as the record of the job describes it."""
        return self.images[self.index]

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the image file, in hex."""
        return self.stored.sha256

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels."""
        return self.stored.width, self.stored.height

    @property
    def bytes(self) -> int:
        """Return the size of the image file in bytes."""
        return self.stored.bytes

    @property
    def format(self) -> str:
        """Return PNG, JPEG or WEBP."""
        return self.stored.format

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return a code for each unusual thing about the image; usually an empty tuple."""
        return self.stored.warnings


class EditResult(ImageFacts):
    """An edited image. Its bytes are read, and its link is made, on each access."""

    __slots__ = ()

    @property
    def image(self) -> bytes:
        """Return the bytes of the image file. Raises `BlobError` if the store cannot read them."""
        return run_sync(self.transport.image(self.job_id, self.stored, self.index))

    @property
    def url(self) -> str:
        """Return a new link to the image that anybody may open; the link expires."""
        return run_sync(self.transport.link(self.job_id, self.stored, self.index))

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the image to a file and return the file's path."""
        target = Path(path)
        target.write_bytes(self.image)
        return target


class Job:
    """
    A handle on one job. It is cheap to make; each member reads the store.

    `replayed` is true if the idempotency key belongs to a job that was enqueued before. Every method raises
    `UnknownJob` for an id that is not on record, and `StoreUnavailable` if Redis or the gateway does not answer.
    """

    def __init__(self, identity: str, transport: Transport, *, replayed: bool = False) -> None:
        self.id, self.replayed, self._transport = identity, replayed, transport

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def record(self) -> JobRecord:
        """Return everything on record about the job."""
        return run_sync(self._transport.record(self.id))

    @property
    def state(self) -> JobState:
        """Return the present state of the job."""
        return JobState(self.record().state)

    def cancel(self) -> str:
        """
        Cancel the job and return a word for what happened.

        The word is `cancelled` (the job has ended), `requested` (a call is under way, and the job ends with it) or
        `final` (the job had ended before).
        """
        return run_sync(self._transport.cancel(self.id))

    def replay(self) -> str:
        """
        Enqueue a failed or cancelled job again and return `replayed`. Another call may have to be paid.

        Any other job stays as it is: return `open` if it has not ended, and `succeeded` if it has succeeded. Raises
        `QueueFull` if the tenant has no room.
        """
        return run_sync(self._transport.replay(self.id))

    def approve(self) -> str:
        """
        Mark the result as approved and return `approved`; `record().approved_at` and `approved_by` then say when and
        by whom.

        Nothing is done if the result is approved already (`unchanged`), or if the job has not succeeded (`no_result`).
        """
        return run_sync(self._transport.approve(self.id))

    def unapprove(self) -> str:
        """Take the mark back and return `unapproved`, or `unchanged` or `no_result` as `approve` does."""
        return run_sync(self._transport.unapprove(self.id))

    def result(self, timeout_s: float | None = None) -> EditResult:
        """
        Wait up to `timeout_s` seconds for the image and return it; None waits for ever, 0 does not wait.

        Raises `EditFailed`, `EditCancelled` or `ResultTimeout`. The job goes on after a `ResultTimeout`.
        """
        return EditResult(self.id, run_sync(images_of(self._transport, self.id, timeout_s)), self._transport)

    def events(self, after: int = -1) -> Iterator[Event]:
        """
        Yield the job's events whose sequence is above `after`: first the past ones, then each new one as it happens.

        The iterator ends after a final event. The first event of every job is `edit.queued`, sequence 0.
        """
        return iterate_sync(events_of(self._transport, self.id, after))

    def deliveries(self) -> list[DeliveryRecord]:
        """Return the job's webhooks and callbacks with all their attempts."""
        return run_sync(self._transport.deliveries_of(self.id))
