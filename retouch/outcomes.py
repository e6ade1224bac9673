"""
Outcomes (what an attempt saw) and decisions (what follows): plain values that the modules pass to each other.

Our modules do not raise exceptions for outcomes. `docs/endpoint.md` describes the classes of the endpoint's answers:
succeeded (`Ready`), processing (`Processing`), refused (`Refused`, `Busy`), failed (`Failed`), unknown (`Unknown`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

OUTPUTS_MOST = 16
"""How many images of one answer are stored at most. If the answer had more, the first image has a warning about it."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the blob store: its name there, and the facts that were measured on its bytes."""

    name: str
    sha256: str
    format: str
    width: int
    height: int
    bytes: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The record has no POST that may have been billed, so the attempt must POST."""


@dataclass(frozen=True, slots=True)
class Processing:
    """The endpoint is processing a paid request: poll `fetch_url`, for the first time after `eta_s` seconds."""

    endpoint_id: str
    fetch_url: str
    eta_s: float


@dataclass(frozen=True, slots=True)
class Ready:
    """
    The image is paid for: the attempt must download the image, and must never POST.

    `urls` all lead to the first image, and are tried in order. `more` has the URLs of each further image of the answer.
    `brought` has an entry (position from 0, stored image) for each image that needs no further attempt; the stored
    image is None if the image was rejected. `beyond` is the number of images in the answer if it is above
    `OUTPUTS_MOST`, else 0. `flagged` is true if the endpoint marked an image as not safe for work.
    """

    urls: tuple[str, ...]
    endpoint_id: str = ""
    flagged: bool = False
    more: tuple[tuple[str, ...], ...] = ()
    brought: tuple[tuple[int, Image | None], ...] = ()
    beyond: int = 0

    @property
    def outputs(self) -> tuple[tuple[str, ...], ...]:
        """Return the URLs of each image, in the order of the answer."""
        return self.urls, *self.more


@dataclass(frozen=True, slots=True)
class Stored:
    """The image is in the blob store, and so are the `others` of the same answer."""

    image: Image
    others: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageUnavailable:
    """
    The image is paid for but could not be downloaded or stored this time. `message` says why.

    If `our_store_failed` is true, our own store did not take the downloaded image, so another POST would not help.
    `images` are the stored images of the same answer. If the missing image never comes, the job succeeds with these
    images.
    """

    message: str
    our_store_failed: bool = False
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageRejected:
    """The image was downloaded and exceeds our limits of bytes, pixels or frames."""

    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """
    The endpoint accepted nothing, charged nothing, and would refuse the job again: bad key, no credits, bad input.

    `retry_with_copy` is true if the endpoint could not read the picture but may be able to read our copy. `of_account`
    is true if the endpoint would refuse every job of this account. It is false if a text in the job may have caused the
    answer.
    """

    code: str
    message: str
    retry_with_copy: bool = False
    of_account: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Busy:
    """
    The endpoint accepts nothing for now, and the job waits for `wait_s` seconds.

    `code` is `queue_full` or `spam_filter`. It is `endpoint_unreachable` if no byte could be sent.
    """

    code: str
    message: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class AccountRefused:
    """
    The endpoint accepted nothing, charged nothing, and would refuse every job of this account: bad key, no credits.

    This outcome exists only with several accounts. With one account, the outcome is `Refused`.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Failed:
    """
    The endpoint tried and failed, which counts as not charged.

    `seen_by_poll` is true if a poll returned this answer. Another poll for the same POST would yield nothing.
    """

    message: str
    wait_s: float = 0.0
    seen_by_poll: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """
    A POST may have been billed and its answer is not known.

    The spam filter accepts the same POST again after `again_in_s` seconds.
    """

    message: str
    again_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GenerationLost:
    """The endpoint no longer knows a request that was paid for."""

    message: str


@dataclass(frozen=True, slots=True)
class TooManyCrashes:
    """Several workers in a row died while they ran this job."""

    crashes: int


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The job's deadline has passed."""


@dataclass(frozen=True, slots=True)
class CancelledFirst:
    """The job was cancelled before this attempt sent anything."""


@dataclass(frozen=True, slots=True)
class GateClosed:
    """
    A gate was closed after the job had been dispatched. Nothing was sent, and the attempt does not count.

    `gate` is a name of `retouch.policy.GATES`.
    """

    gate: str


@dataclass(frozen=True, slots=True)
class Stale:
    """The lease was lost: another worker may have the job, so this attempt must not change it."""


Outcome = (
    NotStarted
    | Processing
    | Ready
    | Stored
    | ImageUnavailable
    | ImageRejected
    | Refused
    | Busy
    | AccountRefused
    | Failed
    | Unknown
    | GenerationLost
    | TooManyCrashes
    | DeadlinePassed
    | CancelledFirst
    | GateClosed
    | Stale
)


@dataclass(frozen=True, slots=True)
class Succeed:
    """The job succeeds; `others` are the further images of the same answer."""

    image: Image
    others: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Fail:
    """
    The job fails. `drop_checkpoint` is true if the checkpoint can yield nothing, so that a replay must POST again.
    """

    code: str
    message: str
    retryable: bool
    drop_checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """
    The job waits for `delay_s` seconds without a slot.

    `refund` is true if this attempt does not count. Waits for a paid answer are limited in number; `counts_as_wait` is
    true if this wait is one of them. `drop_checkpoint` is true if the next attempt must POST again. `moves` is true if
    nothing was charged and another account may take the job. The job then goes to another account at once, and avoids
    the present account for `delay_s` seconds. If no account takes it, the job waits.
    """

    delay_s: float
    code: str
    message: str
    refund: bool = False
    counts_as_wait: bool = True
    drop_checkpoint: bool = False
    moves: bool = False


@dataclass(frozen=True, slots=True)
class Poll:
    """The job keeps its slot. The next poll is in `delay_s` seconds and goes on from `checkpoint`."""

    delay_s: float
    checkpoint: Processing


@dataclass(frozen=True, slots=True)
class Cancel:
    """The job ends because it was cancelled."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """Nothing is recorded, since the lease was lost. The worker that has the lease now decides."""


Decision = Succeed | Fail | Retry | Poll | Cancel | LeaseLost
