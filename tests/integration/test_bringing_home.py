"""Bringing a paid image home over links that mislead: real downloads, and what each attempt at them comes to."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from retouch import Settings
from retouch.blobs import open_blobs
from retouch.outcomes import Kept, NotYet, Ready
from retouch.policy import RetryPolicy
from retouch.store.records import Claim
from tests.integration.servers import LOOPBACK, RawServer, answer, answering
from tests.lanes import LaneKit
from worker.edits.attempt import EARLY_READS, EditTools, keep
from worker.edits.endpoint import Endpoint


@pytest.fixture
def tools(tmp_path: Path) -> EditTools:
    """What a download needs; no store and no broker."""
    settings, nothing = Settings.load(dangerous_allow_private_networks=LOOPBACK[0]), Any
    blobs = open_blobs(tmp_path.as_uri(), "http://gateway.example")
    return EditTools(nothing, Endpoint(settings, connections=2), blobs, nothing, nothing, settings, RetryPolicy())  # type: ignore[arg-type]


@pytest.fixture
def picture() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").save(out, "PNG")
    return out.getvalue()


def claim_after(kit: LaneKit, waits: int) -> Claim:
    """A claim of a job whose paid image was looked for so many times."""
    new = kit.new()
    kit.enqueue(new)
    kit.client.hset(f"rt:edits:state:{new.id}", "waits", waits)
    return kit.claim(new.id)


def test_a_placeholder_that_comes_with_a_404_is_not_the_image(kit: LaneKit, tools: EditTools, picture: bytes) -> None:
    """A host's picture for what is not there yet is asked for again; one that stays is kept with a warning."""
    with RawServer(answering(answer(picture, "404 Not Found"))) as server:
        ready = Ready((server.url("/a.png"), server.url("/b.png")))
        early = keep(claim_after(kit, EARLY_READS - 1), ready, tools)
        assert early == NotYet("status 404: the picture may stand for one that is not there yet")
        assert len(server.requests) == 2
        late = keep(claim_after(kit, EARLY_READS), ready, tools)
    assert isinstance(late, Kept)
    assert late.image.warnings == ("odd_status",)


@pytest.mark.parametrize(
    "first",
    [
        answer(b"", "302 Found", Location="http://[::1/x"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
    ],
)
def test_a_link_that_breaks_every_rule_leaves_the_others(
    kit: LaneKit, tools: EditTools, picture: bytes, first: bytes
) -> None:
    """A redirect to no URL, or chunks of less than nothing, are the first link's fault: the second one is taken."""
    with RawServer(answering(first)) as bad, RawServer(answering(answer(picture))) as good:
        kept = keep(claim_after(kit, 0), Ready((bad.url(), good.url())), tools)
    assert isinstance(kept, Kept)
    assert kept.image.warnings == ()
