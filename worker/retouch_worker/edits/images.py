"""
The images of a paid answer: each is downloaded, checked and kept, one after the other, whatever becomes of the others.

Of several, each that is kept goes on record before the next is asked for, so that a worker that dies between two of
them costs nothing and loses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from retouch.blobs.interface import BlobError
from retouch.egress.http import Trouble
from retouch.images.validation import ImageFault, ImageLimits, ValidImage, check
from retouch.outcomes import OUTPUTS_MOST, Image, ImageRejected, ImageUnavailable, Outcome, Ready, Stale, Stored
from retouch.store.records import Claim
from retouch_worker.edits.context import EditTools
from retouch_worker.logs import log

EARLY_READS = 5
"""Downloads, half a minute, before a picture is kept that comes with a status of failure: until then it comes early."""

OUTPUT_LIMITS = ImageLimits(max_scan_megapixels=4 * ImageLimits().max_scan_megapixels)
"""An output is paid: more work is taken on for it than for what tenants send, but not any amount."""
_BEYOND_LIMITS = ("too_large", "too_many_pixels", "too_many_frames", "too_complex")

Brought = Mapping[int, Image | None]
"""What became of images, by their place in the answer: kept, or None for one that we do not keep."""


def store_image(claim: Claim, ready: Ready, tools: EditTools) -> Outcome:
    """
    Bring the images home: of each, the first link that yields an acceptable picture is checked and stored.

    Failure policy: the job has its images once each one is kept or is known to be none that we keep. While one may
    still come, the outcome is `ImageUnavailable`, with the others in it.
    """
    brought: dict[int, Image | None] = _still_there(ready, tools)
    waiting: list[ImageUnavailable] = []
    outcome: Outcome = ImageRejected("none of the images is one that we keep")
    for place, urls in enumerate(ready.outputs):
        if place in brought:
            continue
        outcome = _keep_first(urls, claim, ready, tools)
        if isinstance(outcome, ImageUnavailable):
            waiting.append(outcome)
            continue
        brought[place] = outcome.image if isinstance(outcome, Stored) else None
        if ready.more and not _is_noted(claim, ready, brought, place, tools):
            return Stale()
    images = _with_gaps(ready, brought)
    if waiting:
        # Our own store goes first: while it is out of order, waiting costs none of the tries.
        return replace(next((one for one in waiting if one.our_store_failed), waiting[0]), images=images)
    return Stored(images[0], images[1:]) if images else outcome


def _still_there(ready: Ready, tools: EditTools) -> dict[int, Image | None]:
    """Return what earlier attempts brought home; a replay may come when retention has taken an image meanwhile."""
    try:
        return {place: one for place, one in ready.brought if one is None or tools.blobs.exists(one.name)}
    except BlobError:
        return dict(ready.brought)


def _is_noted(claim: Claim, ready: Ready, brought: Brought, place: int, tools: EditTools) -> bool:
    """Put on record what is at home by now; False if the lease was lost."""
    image = brought[place]
    noted = replace(ready, brought=tuple(sorted(brought.items())))
    return tools.jobs.note_brought(claim, noted, image.name if image else "")


def _with_gaps(ready: Ready, brought: Brought) -> tuple[Image, ...]:
    """Return the kept images in order; the first carries a warning for each one that is missing."""
    gaps = [f"output_missing:{place}" for place in range(len(ready.outputs)) if not brought.get(place)]
    if ready.beyond:
        gaps.append(f"outputs_beyond_{OUTPUTS_MOST}:{ready.beyond}")
    images = [image for _, image in sorted(brought.items()) if image]
    return tuple(replace(one, warnings=(*one.warnings, *gaps)) if one is images[0] else one for one in images)


def _keep_first(urls: tuple[str, ...], claim: Claim, ready: Ready, tools: EditTools) -> Outcome:
    outcome: Outcome = ImageUnavailable("the answer named no link")
    for url in urls:
        outcome = _store_from(url, claim, ready, tools)
        if isinstance(outcome, Stored):
            return outcome
    return outcome


def _store_from(url: str, claim: Claim, ready: Ready, tools: EditTools) -> Outcome:
    answer = tools.endpoints.download(url)
    if isinstance(answer, Trouble):
        return (
            ImageRejected(answer.detail)
            if answer.kind == "too_large"
            else ImageUnavailable(f"download: {answer.detail}")
        )
    with tools.decoding.hold(claim.spec.tenant):
        picture, odd = check(answer.body, OUTPUT_LIMITS), not 200 <= answer.status < 300
    if isinstance(picture, ImageFault):
        beyond = not odd and picture.code in _BEYOND_LIMITS
        return (
            ImageRejected(picture.message) if beyond else ImageUnavailable(f"status {answer.status}: {picture.message}")
        )
    if odd and claim.attempt().waits < EARLY_READS:
        return ImageUnavailable(f"status {answer.status}: the picture may stand for one that is not there yet")
    try:
        name = tools.blobs.put(answer.body, picture.suffix)
    except BlobError as fault:
        log.error("image_not_stored", job=claim.job, reason=str(fault))
        return ImageUnavailable("the image could not be stored", our_store_failed=True)
    return Stored(Image(name=name, **asdict(replace(picture, warnings=_warnings(picture, claim, ready, odd)))))


def _warnings(picture: ValidImage, claim: Claim, ready: Ready, odd: bool) -> tuple[str, ...]:
    # Our own links and names hold the hash of what they lead to.
    same = picture.sha256 in claim.spec.edit["init_image"] or picture.sha256 in claim.spec.input
    known = {
        "flagged": ready.flagged, "same_as_input": same, "odd_status": odd, "read_our_copy": claim.reads_copy
    }  # fmt: skip
    return (*picture.warnings, *(name for name, holds in known.items() if holds))
