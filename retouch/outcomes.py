"""
What an attempt saw (outcomes) and what follows (decisions): plain values that travel between the modules.

No module of ours raises to tell another what happened. The classes of the endpoint's answers are those of
`docs/architecture.md`: succeeded (`Ready`), processing, refused (`Refused`, `Busy`), failed, unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

OUTPUTS_MOST = 16
"""Images of one answer that are kept; the record says when there were more."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that is kept: its name in the blob store, and what was measured on its bytes."""

    name: str
    sha256: str
    format: str
    width: int
    height: int
    bytes: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Nothing was asked of the endpoint yet, or what was asked is known to have cost nothing: POST."""


@dataclass(frozen=True, slots=True)
class Processing:
    """The endpoint works on it, and it is paid: look again at `fetch_url`, not before `eta_s` seconds."""

    endpoint_id: str
    fetch_url: str
    eta_s: float


@dataclass(frozen=True, slots=True)
class Ready:
    """
    The endpoint has the image, at the first of these URLs that yields it. It is paid: download, never POST.

    `more` holds the URLs of further images that the answer named, for each the alternatives. `brought` says what became
    of images so far, by their place from 0: kept, or None for one that we do not keep. `beyond`: how many images the
    answer named in all, where these are more than `OUTPUTS_MOST`.
    """

    urls: tuple[str, ...]
    endpoint_id: str = ""
    flagged: bool = False
    more: tuple[tuple[str, ...], ...] = ()
    brought: tuple[tuple[int, Image | None], ...] = ()
    beyond: int = 0

    @property
    def outputs(self) -> tuple[tuple[str, ...], ...]:
        """The URLs of each image, in the order of the answer."""
        return self.urls, *self.more


@dataclass(frozen=True, slots=True)
class Stored:
    """The image is in the blob store, and so are the `others` that the same answer named."""

    image: Image
    others: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageUnavailable:
    """
    The image is paid for and could not be fetched or stored this time; `message` says why.

    `our_store_failed`: it came, and our own store did not take it, so that no other POST would help. `images`: the
    others of the same answer that are kept; the job succeeds with them if this one never comes.
    """

    message: str
    our_store_failed: bool = False
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageRejected:
    """The image came and is not one that we keep: beyond the limits of bytes, pixels or frames."""

    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """
    The endpoint took nothing and charged nothing, and would refuse again: bad key, no credits, bad input.

    `retry_with_copy`: it could not read the picture, and our copy of it may be read instead.
    """

    code: str
    message: str
    retry_with_copy: bool = False


@dataclass(frozen=True, slots=True)
class Busy:
    """
    The endpoint took nothing, for now.

    `code` says why: `queue_full`, `spam_filter`, or `endpoint_unreachable` when nothing could be sent at all.
    """

    code: str
    message: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class Failed:
    """
    The endpoint tried and failed, or could not be reached: treated as not charged.

    `seen_by_poll`: it said so of a request that it had in work, so looking at that one again can yield nothing.
    """

    message: str
    wait_s: float = 0.0
    seen_by_poll: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """A POST may have been billed and its answer is not known. `again_in_s`: until the spam filter lets it pass."""

    message: str
    again_in_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GenerationLost:
    """The endpoint no longer knows a request that it was paid for."""

    message: str


@dataclass(frozen=True, slots=True)
class TooManyCrashes:
    """Worker after worker died while it ran this job."""

    crashes: int


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The job's deadline has passed."""


@dataclass(frozen=True, slots=True)
class CancelledFirst:
    """The job was cancelled before this attempt asked for anything."""


@dataclass(frozen=True, slots=True)
class GateClosed:
    """
    A gate closed behind the dispatch of this job: nothing was asked of the endpoint, and no attempt counts.

    `gate` says which: `budget_spent`, `endpoint_down` for the breaker, or `not_on_disk` for a durable intent.
    """

    gate: str


@dataclass(frozen=True, slots=True)
class Stale:
    """The lease was lost: another worker has the job, so this attempt must not touch it."""


Outcome = (
    NotStarted
    | Processing
    | Ready
    | Stored
    | ImageUnavailable
    | ImageRejected
    | Refused
    | Busy
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
    """The job is done; `others` are the further images of the same answer."""

    image: Image
    others: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Fail:
    """The job is a dead letter. `drop_checkpoint`: a replay must POST again, for the checkpoint can yield nothing."""

    code: str
    message: str
    retryable: bool
    drop_checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class Retry:
    """
    The job waits without a slot.

    `refund`: the attempt costs none. `counts_as_wait`: the wait is one of the few that a paid answer is given.
    `drop_checkpoint`: the next attempt POSTs again.
    """

    delay_s: float
    code: str
    message: str
    refund: bool = False
    counts_as_wait: bool = True
    drop_checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class Poll:
    """The job keeps its slot and is looked at again. `checkpoint` is what that look needs."""

    delay_s: float
    checkpoint: Processing


@dataclass(frozen=True, slots=True)
class Cancel:
    """The job ends as its owner asked."""


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """Nothing is recorded: the lease was lost, and whoever has it now decides."""


Decision = Succeed | Fail | Retry | Poll | Cancel | LeaseLost
