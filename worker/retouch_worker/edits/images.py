"""
Downloads, checks and stores the images of a paid answer. An image is stored even if another image is not available.

Each stored image goes on record before the next download. If a worker dies between two downloads, no image is lost and
nothing is paid again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from retouch.blobs.interface import BlobError
from retouch.egress.http import Trouble
from retouch.images.validation import ImageFault, ImageLimits, ValidImage, check
from retouch.outcomes import OUTPUTS_MOST, Image, ImageRejected, ImageUnavailable, Outcome, Ready, Stale, Stored
from retouch.store.records import Claim
from retouch_worker.edits.context import EditDependencies
from retouch_worker.logs import log

EARLY_READS = 5
"""
How often a picture that comes with an error status is downloaded before it is accepted; this takes half a minute.

Until then it may be a placeholder for an output that is not ready.
"""

OUTPUT_LIMITS = ImageLimits(max_scan_megapixels=4 * ImageLimits().max_scan_megapixels)
"""An output was paid for, so its decoding may take four times the work of a tenant's picture, but not more."""
_BEYOND_LIMITS = ("too_large", "too_many_pixels", "too_many_frames", "too_complex")

HandledImages = Mapping[int, Image | None]
"""The images that need no further attempt, by their index in the answer; None stands for a rejected image."""


def store_images(claim: Claim, ready: Ready, dependencies: EditDependencies) -> Outcome:
    """
    Download and store the images of an answer. If an image has several links, they are tried in order.

    Failure policy: the outcome is `Stored` once each image is stored or rejected, and `ImageRejected` if every image is
    rejected. While an image may still become available, the outcome is `ImageUnavailable` with the images stored so
    far.
    """
    handled: dict[int, Image | None] = _already_stored(ready, dependencies)
    unavailable: list[ImageUnavailable] = []
    outcome: Outcome = ImageRejected("every image of the answer was rejected")
    for index, urls in enumerate(ready.outputs):
        if index in handled:
            continue
        outcome = _store_first_usable(urls, claim, ready, dependencies)
        if isinstance(outcome, ImageUnavailable):
            unavailable.append(outcome)
            continue
        handled[index] = outcome.image if isinstance(outcome, Stored) else None
        # A single image goes on record with the settlement, so it needs no call here.
        if ready.more and not _record_progress(claim, ready, handled, index, dependencies):
            return Stale()
    images = _in_order(ready, handled)
    if unavailable:
        # A failure of our own store takes precedence, since waiting for the store uses up no download.
        return replace(next((one for one in unavailable if one.our_store_failed), unavailable[0]), images=images)
    return Stored(images[0], images[1:]) if images else outcome


def _already_stored(ready: Ready, dependencies: EditDependencies) -> dict[int, Image | None]:
    """Return the images that earlier attempts handled, except for images that retention has deleted before a replay."""
    try:
        return {index: one for index, one in ready.brought if one is None or dependencies.blobs.exists(one.name)}
    except BlobError:
        return dict(ready.brought)


def _record_progress(
    claim: Claim, ready: Ready, handled: HandledImages, index: int, dependencies: EditDependencies
) -> bool:
    """Put the handled images on record; the image at `index` is new. Return False if the lease was lost."""
    image = handled[index]
    progress = replace(ready, brought=tuple(sorted(handled.items())))
    return dependencies.jobs.record_stored_image(claim, progress, image.name if image else "")


def _in_order(ready: Ready, handled: HandledImages) -> tuple[Image, ...]:
    """Return the stored images in the order of the answer. The first image has a warning for each missing image."""
    gaps = [f"output_missing:{index}" for index in range(len(ready.outputs)) if not handled.get(index)]
    if ready.beyond:
        gaps.append(f"outputs_beyond_{OUTPUTS_MOST}:{ready.beyond}")
    images = [image for _, image in sorted(handled.items()) if image]
    return tuple(replace(one, warnings=(*one.warnings, *gaps)) if one is images[0] else one for one in images)


def _store_first_usable(urls: tuple[str, ...], claim: Claim, ready: Ready, dependencies: EditDependencies) -> Outcome:
    outcome: Outcome = ImageUnavailable("the answer named no link")
    for url in urls:
        outcome = _store_from(url, claim, ready, dependencies)
        if isinstance(outcome, Stored):
            return outcome
    return outcome


def _store_from(url: str, claim: Claim, ready: Ready, dependencies: EditDependencies) -> Outcome:
    answer = dependencies.endpoints.download(url)
    if isinstance(answer, Trouble):
        if answer.kind == "too_large":
            return ImageRejected(answer.detail)
        return ImageUnavailable(f"download: {answer.detail}")
    with dependencies.decoding.hold(claim.spec.tenant):
        picture, bad_status = check(answer.body, OUTPUT_LIMITS), not 200 <= answer.status < 300
    if isinstance(picture, ImageFault):
        beyond = not bad_status and picture.code in _BEYOND_LIMITS
        if beyond:
            return ImageRejected(picture.message)
        return ImageUnavailable(f"status {answer.status}: {picture.message}")
    if bad_status and claim.attempt().waits < EARLY_READS:
        return ImageUnavailable(f"status {answer.status}: the picture may stand for one that is not there yet")
    try:
        name = dependencies.blobs.put(answer.body, picture.suffix)
    except BlobError as fault:
        log.error("image_not_stored", job=claim.job, reason=str(fault))
        return ImageUnavailable("the image could not be stored", our_store_failed=True)
    return Stored(Image(name=name, **asdict(replace(picture, warnings=_warnings(picture, claim, ready, bad_status)))))


def _warnings(picture: ValidImage, claim: Claim, ready: Ready, bad_status: bool) -> tuple[str, ...]:
    # Links to our own blobs, and their names, contain the hash of the bytes.
    same_as_input = picture.sha256 in claim.spec.edit["init_image"] or picture.sha256 in claim.spec.input
    causes = (
        ("flagged", ready.flagged),
        ("same_as_input", same_as_input),
        ("odd_status", bad_status),
        ("read_our_copy", claim.reads_copy),
    )
    return (*picture.warnings, *(name for name, applies in causes if applies))
