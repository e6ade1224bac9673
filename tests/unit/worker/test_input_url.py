"""The endpoint gets a link to the input picture. If it cannot read the picture, the error names the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retouch import Settings
from retouch.blobs.file import FileBlobs
from retouch.blobs.interface import BlobError, content_name
from retouch.outcomes import Busy, Refused
from retouch.store.records import Claim, JobSpec
from retouch_worker.edits.input_url import apply_input_fallback, request_spec
from tests.claim_kit import fresh_claim

NAME = content_name(b"a picture", "png")
LINK = "https://shop.example/in.png"
UNREAD = Refused("image_unfetchable", "Unable to fetch image from provided URL.")
SETTINGS = Settings.load()
CLAIM = fresh_claim(JobSpec("acme", {"prompt": "winter", "init_image": LINK}, 3_600.0, input=NAME), 1_000_000.0)
SECOND = replace(CLAIM, reads_copy=True)


def given(init_image: str, copy: str = "") -> Claim:
    return replace(CLAIM, spec=replace(CLAIM.spec, edit={**CLAIM.spec.edit, "init_image": init_image}, input=copy))


def judged(blobs: FileBlobs, claim: Claim = CLAIM, settings: Settings = SETTINGS) -> Refused:
    """Return the outcome of `apply_input_fallback` for a picture that the endpoint could not read."""
    outcome = apply_input_fallback(UNREAD, claim, blobs, settings)
    assert isinstance(outcome, Refused)
    return outcome


def store(folder: Path, public_url: str = "https://edits.example") -> FileBlobs:
    return FileBlobs(folder, public_url, sign=lambda name, expires: f"{expires:x}{name[:2]}")


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return store(tmp_path)


def test_our_copy_is_tried_once(blobs: FileBlobs) -> None:
    """
    After the first refusal the next attempt sends the link of our copy. After a second refusal the error names
    RETOUCH_PUBLIC_URL.
    """
    first, second = judged(blobs), judged(blobs, SECOND)
    assert (first.retry_with_copy, second.retry_with_copy) == (True, False)
    assert first.message == "Unable to fetch image from provided URL; the next attempt sends the link of our copy"
    assert "RETOUCH_PUBLIC_URL" in second.message


def test_the_copys_link_is_signed_and_takes_the_place_of_the_callers(blobs: FileBlobs) -> None:
    """
    If a claim asks for our copy, the copy's signed link replaces the caller's link. Nothing else in the request
    changes.
    """
    asked = request_spec(SECOND, blobs, SETTINGS)
    assert asked.edit["init_image"].startswith(f"https://edits.example/files/{NAME}?expires=")
    assert replace(asked, edit=CLAIM.spec.edit) == CLAIM.spec
    assert request_spec(CLAIM, blobs, SETTINGS) == CLAIM.spec


def test_without_a_copy_the_error_names_the_remedy(blobs: FileBlobs) -> None:
    """
    If we have no copy of the picture, the error asks for a public link. For a link of ours, it names
    RETOUCH_PUBLIC_URL.
    """
    theirs = judged(blobs, given(LINK))
    ours = judged(blobs, given(f"https://edits.example/files/{NAME}?expires=1", NAME))
    assert (theirs.retry_with_copy, ours.retry_with_copy) == (False, False)
    assert "must be public" in theirs.message
    assert "upload" in theirs.message
    assert "RETOUCH_PUBLIC_URL" in ours.message


@pytest.mark.parametrize("public_url", ["http://127.0.0.1:8000", "http://gateway:8000", "http://10.0.0.7"])
def test_a_link_that_only_we_could_read_is_not_sent(tmp_path: Path, public_url: str) -> None:
    """
    If RETOUCH_PUBLIC_URL is private, the link of our copy is not sent. It is sent if private addresses are allowed.
    """
    inside = store(tmp_path, public_url)
    assert not judged(inside).retry_with_copy
    assert request_spec(SECOND, inside, SETTINGS) == CLAIM.spec
    assert judged(inside, settings=Settings.load(dangerous_allow_private_networks="all")).retry_with_copy


def test_a_store_that_cannot_sign_leaves_all_as_it_was(tmp_path: Path) -> None:
    """If the store cannot make a link, the job continues as if there were no copy."""

    class Closed(FileBlobs):
        def link(self, name: str, expires_s: float = 0.0) -> str:
            raise BlobError(f"no credentials for {name} ({expires_s})")

    closed = Closed(tmp_path, "https://edits.example")
    assert not judged(closed).retry_with_copy
    assert request_spec(SECOND, closed, SETTINGS) == CLAIM.spec


def test_other_outcomes_pass_as_they_are(blobs: FileBlobs) -> None:
    """Outcomes other than an unreadable picture are returned unchanged."""
    for outcome in (Refused("bad_key", "Invalid Api Key"), Busy("queue_full", "full", 5.0)):
        assert apply_input_fallback(outcome, CLAIM, blobs, SETTINGS) is outcome
