"""
Chooses the link to the input picture that the endpoint gets: the caller's link, or the link of our copy if the endpoint
could not read the caller's link.

The gateway stores the copies. Their links are signed here, just before the POST, because they expire.
"""

from __future__ import annotations

from dataclasses import replace

from retouch.addresses import fault_of
from retouch.blobs import BlobStore, name_in
from retouch.blobs.interface import BlobError
from retouch.outcomes import Refused
from retouch.settings import Settings
from retouch.store.records import Claim, JobSpec
from retouch_worker.edits.classification import UNREADABLE, PostOutcome

_COPY_IS_NEXT = "the next attempt sends the link of our copy"
_OUR_LINK_FAILED = (
    "that was our own link: the address of the gateway (RETOUCH_PUBLIC_URL) or of the bucket must be open to it"
)
_CALLERS_LINK_FAILED = (
    "init_image must be public, without a login, when the job's turn comes; or upload the picture (POST /v1/uploads, "
    "retouch edit FILE) and send the link that you get"
)


def request_spec(claim: Claim, blobs: BlobStore, settings: Settings) -> JobSpec:
    """Return the spec to POST; if the endpoint could not read the caller's link, the spec has the link of our copy."""
    link = _copy_link(claim, blobs, settings) if claim.reads_copy else ""
    return replace(claim.spec, edit={**claim.spec.edit, "init_image": link}) if link else claim.spec


def apply_input_fallback(outcome: PostOutcome, claim: Claim, blobs: BlobStore, settings: Settings) -> PostOutcome:
    """
    Return the outcome; if it says that the endpoint could not read the picture, add advice to its message.

    If the next attempt will send the link of our copy, `retry_with_copy` is set. Otherwise the message says what the
    caller can do.
    """
    if not isinstance(outcome, Refused) or outcome.code != UNREADABLE:
        return outcome
    retry_with_copy = not claim.reads_copy and bool(_copy_link(claim, blobs, settings))
    is_ours = claim.reads_copy or bool(name_in(claim.spec.edit["init_image"]))
    advice = _COPY_IS_NEXT if retry_with_copy else _OUR_LINK_FAILED if is_ours else _CALLERS_LINK_FAILED
    return replace(outcome, message=f"{outcome.message.rstrip('.')}; {advice}", retry_with_copy=retry_with_copy)


def _copy_link(claim: Claim, blobs: BlobStore, settings: Settings) -> str:
    """
    Return a link to our copy of the picture, or "" if that cannot help.

    It cannot help if there is no copy, if the job's own link leads to the copy, or if the link's address is private.
    """
    name = claim.spec.input
    if not name or name == name_in(claim.spec.edit["init_image"]):
        return ""
    try:
        link = blobs.link(name, claim.deadline_at - claim.now_at)
    except BlobError:
        return ""
    return "" if fault_of(link, settings.dangerous_allow_private_networks) else link
