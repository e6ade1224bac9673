"""
By which link the endpoint reads the picture: the caller's, and once it cannot read that one, our copy's.

Copies are kept at the gateway's door. Their links are minted here, at the POST: they are signed like those of results.
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

_COPY_IS_NEXT = "it is asked again with the link of our copy"
_OUR_LINK_FAILED = (
    "that was our own link: the address of the gateway (RETOUCH_PUBLIC_URL) or of the bucket must be open to it"
)
_CALLERS_LINK_FAILED = (
    "init_image must be public, without a login, when the job's turn comes; or upload the picture (POST /v1/uploads, "
    "retouch edit FILE) and send the link that you get"
)


def request_spec(claim: Claim, blobs: BlobStore, settings: Settings) -> JobSpec:
    """Give what is POSTed: what was asked for, with the link of our copy once the endpoint could not read the other."""
    link = _copy_link(claim, blobs, settings) if claim.reads_copy else ""
    return replace(claim.spec, edit={**claim.spec.edit, "init_image": link}) if link else claim.spec


def apply_input_fallback(outcome: PostOutcome, claim: Claim, blobs: BlobStore, settings: Settings) -> PostOutcome:
    """Say, of a picture that the endpoint could not read, whether our copy may be read instead, or what to do."""
    if not isinstance(outcome, Refused) or outcome.code != UNREADABLE:
        return outcome
    retry_with_copy = not claim.reads_copy and bool(_copy_link(claim, blobs, settings))
    is_ours = claim.reads_copy or bool(name_in(claim.spec.edit["init_image"]))
    advice = _COPY_IS_NEXT if retry_with_copy else _OUR_LINK_FAILED if is_ours else _CALLERS_LINK_FAILED
    return replace(outcome, message=f"{outcome.message.rstrip('.')}; {advice}", retry_with_copy=retry_with_copy)


def _copy_link(claim: Claim, blobs: BlobStore, settings: Settings) -> str:
    """Give the link of our copy, "" where there is none, it was asked for by that link, or only we could read it."""
    name = claim.spec.input
    if not name or name == name_in(claim.spec.edit["init_image"]):
        return ""
    try:
        link = blobs.link(name, claim.deadline_at - claim.now_at)
    except BlobError:
        return ""
    return "" if fault_of(link, settings.dangerous_allow_private_networks) else link
