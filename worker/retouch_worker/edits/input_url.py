"""
Chooses the link to the input picture for a POST. This is the caller's link, or a link to our copy if the endpoint could
not read the caller's link.

The gateway stores the copies. A link to a copy expires, so it is signed here, just before the POST.
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
    """Return the spec to POST. If the claim asks for our copy, the link of our copy replaces the caller's link."""
    link = _copy_link(claim, blobs, settings) if claim.reads_copy else ""
    return replace(claim.spec, edit={**claim.spec.edit, "init_image": link}) if link else claim.spec


def apply_input_fallback(outcome: PostOutcome, claim: Claim, blobs: BlobStore, settings: Settings) -> PostOutcome:
    """
    Return the outcome. If the endpoint could not read the picture, add advice to the message.

    If our copy can help, `retry_with_copy` is set, and the next attempt sends the link of our copy. Otherwise the
    message says what the caller or the operator can do.
    """
    if not isinstance(outcome, Refused) or outcome.code != UNREADABLE:
        return outcome
    retry_with_copy = not claim.reads_copy and bool(_copy_link(claim, blobs, settings))
    is_ours = claim.reads_copy or bool(name_in(claim.spec.edit["init_image"]))
    advice = _COPY_IS_NEXT if retry_with_copy else _OUR_LINK_FAILED if is_ours else _CALLERS_LINK_FAILED
    return replace(outcome, message=f"{outcome.message.rstrip('.')}; {advice}", retry_with_copy=retry_with_copy)


def _copy_link(claim: Claim, blobs: BlobStore, settings: Settings) -> str:
    """
    Return a link to our copy of the picture. Return "" if there is no copy, if the job's own link leads to the copy, if
    the store can make no link, or if the link is private.
    """
    name = claim.spec.input
    if not name or name == name_in(claim.spec.edit["init_image"]):
        return ""
    try:
        link = blobs.link(name, claim.deadline_at - claim.now_at)
    except BlobError:
        return ""
    return "" if fault_of(link, settings.dangerous_allow_private_networks) else link
