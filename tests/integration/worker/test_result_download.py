"""Downloads of a paid image from unreliable links: real downloads, and the outcome of each attempt."""

from __future__ import annotations

import io
import socket
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from retouch import Settings
from retouch.blobs import open_blobs
from retouch.outcomes import Fail, ImageRejected, ImageUnavailable, Ready, Retry, Stale, Stored, Succeed
from retouch.policy import FETCH_TRIES, RetryPolicy, decide
from retouch.store.audit import AuditLog
from retouch.store.blob_retention import owns_blob
from retouch.store.jobs import JobStore
from retouch.store.keys import KEPT
from retouch.store.records import Claim
from retouch.store.results import checkpoint_from, images_from
from retouch_worker.edits.context import EditDependencies
from retouch_worker.edits.credentials import Credentials
from retouch_worker.edits.endpoint import Endpoints
from retouch_worker.edits.images import EARLY_READS, store_images
from tests.integration.faulty_servers import LOOPBACK, RawServer, answer, answering
from tests.lane_kit import LaneKit


@pytest.fixture
def dependencies(tmp_path: Path, client: Any) -> EditDependencies:
    """Return dependencies with real stores and endpoints, but without a publisher and a pulse."""
    settings, nothing = Settings.load(dangerous_allow_private_networks=LOOPBACK[0]), Any
    blobs = open_blobs(tmp_path.as_uri(), "http://gateway.example")
    endpoints, jobs = Endpoints(settings, Credentials(settings), connections=2), JobStore(client, retention_s=3_600.0)
    return EditDependencies(jobs, AuditLog(client), endpoints, blobs, nothing, nothing, settings, RetryPolicy())  # type: ignore[arg-type]  # a download uses neither


@pytest.fixture
def picture() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").save(out, "PNG")
    return out.getvalue()


def claim_after(kit: LaneKit, waits: int) -> Claim:
    """Return a claim of a job that has a paid image, and whose download has failed `waits` times."""
    new = kit.new()
    kit.enqueue(new)
    kit.client.hset(f"rt:edits:state:{new.id}", "waits", waits)
    return kit.claim(new.id)


def test_a_placeholder_that_comes_with_a_404_is_not_the_image(
    kit: LaneKit, dependencies: EditDependencies, picture: bytes
) -> None:
    """
    In the first downloads, a picture that comes with the status 404 is not accepted. In later downloads, it is stored
    with a warning.
    """
    with RawServer(answering(answer(picture, "404 Not Found"))) as server:
        ready = Ready((server.url("/a.png"), server.url("/b.png")))
        early = store_images(claim_after(kit, EARLY_READS - 1), ready, dependencies)
        assert early == ImageUnavailable("status 404: the picture may stand for one that is not there yet")
        assert len(server.requests) == 2
        late = store_images(claim_after(kit, EARLY_READS), ready, dependencies)
    assert isinstance(late, Stored)
    assert late.image.warnings == ("odd_status",)


@pytest.mark.parametrize(
    "first",
    [
        answer(b"", "302 Found", Location="http://[::1/x"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
    ],
)
def test_a_link_that_breaks_every_rule_leaves_the_others(
    kit: LaneKit, dependencies: EditDependencies, picture: bytes, first: bytes
) -> None:
    """If the first link breaks HTTP or redirects to an invalid URL, the image is downloaded from the second link."""
    with RawServer(answering(first)) as bad, RawServer(answering(answer(picture))) as good:
        kept = store_images(claim_after(kit, 0), Ready((bad.url(), good.url())), dependencies)
    assert isinstance(kept, Stored)
    assert kept.image.warnings == ()


class Host:
    """Serves one picture for each path. Paths in `gone` answer 404; `asked` lists the requested paths in order."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.bodies: dict[str, bytes] = {}
        self.asked: list[str] = []

    def __call__(self, server: RawServer, connection: socket.socket) -> None:
        while request := server.read_request(connection):
            path = request.split(b" ")[1].decode()
            self.asked.append(path)
            body = b"" if path in self.gone else self.bodies.setdefault(path, png(len(self.bodies)))
            connection.sendall(answer(body, "200 OK" if body else "404 Not Found"))


def png(shade: int) -> bytes:
    """Return a PNG whose bytes differ for each `shade`."""
    out = io.BytesIO()
    Image.linear_gradient("L").point([min(255, level + shade) for level in range(256)]).save(out, "PNG")
    return out.getvalue()


def checkpoint_of(kit: LaneKit, claim: Claim) -> Any:
    return checkpoint_from(kit.client.hget(f"rt:edits:state:{claim.job}", "checkpoint"))


def follows(outcome: Any, claim: Claim) -> Any:
    return decide(outcome, claim.attempt(), RetryPolicy(), claim.now_at, 0.5)


def test_each_image_of_an_answer_is_kept(kit: LaneKit, dependencies: EditDependencies) -> None:
    """
    The images of an answer are stored in order, even if one image needs its second link. The checkpoint, the record and
    the event name each image.
    """
    host = Host()
    host.gone = {"/b.png"}
    with RawServer(host) as server:
        ready = Ready(
            (server.url("/a.png"),), "7", more=((server.url("/b.png"), server.url("/b2.png")), (server.url("/c.png"),))
        )
        claim = claim_after(kit, 0)
        kept = store_images(claim, ready, dependencies)
    assert isinstance(kept, Stored)
    assert [dependencies.blobs.get(one.name) for one in (kept.image, *kept.others)] == [
        host.bodies[path] for path in ("/a.png", "/b2.png", "/c.png")
    ]
    assert [(place, one.name) for place, one in checkpoint_of(kit, claim).brought] == [
        *enumerate(one.name for one in (kept.image, *kept.others))
    ]
    kit.jobs.settle(claim, follows(kept, claim))
    record = kit.jobs.record(claim.job)
    assert record is not None
    assert record.images == (kept.image, *kept.others)
    (entry,) = [one for one in kit.jobs.timeline(claim.job) if one["type"] == "edit.succeeded"]
    assert images_from(entry["result"]) == record.images
    for one in record.images:
        assert owns_blob(kit.client, "acme", one.name)
        assert kit.client.zscore(KEPT, one.name) - kit.client.time()[0] > 3_500


def test_one_image_that_is_late_is_waited_for_alone(kit: LaneKit, dependencies: EditDependencies) -> None:
    """When one image is late, the next attempt downloads only this image. The outcome then has all images in order."""
    host = Host()
    host.gone = {"/b.png"}
    with RawServer(host) as server:
        ready = Ready((server.url("/a.png"),), "7", more=((server.url("/b.png"),), (server.url("/c.png"),)))
        claim = claim_after(kit, 0)
        outcome = store_images(claim, ready, dependencies)
        assert isinstance(outcome, ImageUnavailable)
        decision = follows(outcome, claim)
        assert isinstance(decision, Retry)
        kit.jobs.settle(claim, decision)
        kit.make_due("edits", "timetable")
        kit.rescue()
        host.gone = set()
        host.asked.clear()
        claim = kit.claim(claim.job)
        assert isinstance(claim.checkpoint, Ready)
        kept = store_images(claim, claim.checkpoint, dependencies)
    assert isinstance(kept, Stored)
    assert host.asked == ["/b.png"]
    assert [dependencies.blobs.get(one.name) for one in (kept.image, *kept.others)] == [
        host.bodies[path] for path in ("/a.png", "/b.png", "/c.png")
    ]
    assert kept.image.warnings == ()


def test_an_image_that_never_comes_costs_none_of_the_others(kit: LaneKit, dependencies: EditDependencies) -> None:
    """
    If one image is rejected and another is missing after the last try, the job succeeds with the other images. The
    first image has a warning for each missing one.
    """
    host = Host()
    host.gone, host.bodies["/d.png"] = {"/b.png"}, b"\x89PNG" + bytes(50_000_001)
    with RawServer(host) as server:
        urls = [(server.url(f"/{name}.png"),) for name in "abcd"]
        claim = claim_after(kit, FETCH_TRIES)
        outcome = store_images(claim, Ready(urls[0], "7", more=tuple(urls[1:])), dependencies)
    decision = follows(outcome, claim)
    assert isinstance(decision, Succeed)
    stored = [dependencies.blobs.get(one.name) for one in (decision.image, *decision.others)]
    assert stored == [host.bodies["/a.png"], host.bodies["/c.png"]]
    assert decision.image.warnings == ("output_missing:1", "output_missing:3")


def test_without_any_image_all_is_as_with_one(kit: LaneKit, dependencies: EditDependencies) -> None:
    """
    If all images are rejected, the outcome is ImageRejected. If all are missing after the last try, the code is
    `result_lost`, and the checkpoint is dropped.
    """
    host = Host()
    host.gone = {"/c.png", "/d.png"}
    host.bodies = dict.fromkeys(("/a.png", "/b.png"), b"\x89PNG" + bytes(50_000_001))
    with RawServer(host) as server:
        urls = {name: (server.url(f"/{name}.png"),) for name in "abcd"}
        assert isinstance(
            store_images(claim_after(kit, 0), Ready(urls["a"], more=(urls["b"],)), dependencies), ImageRejected
        )
        claim = claim_after(kit, FETCH_TRIES)
        lost = follows(store_images(claim, Ready(urls["c"], more=(urls["d"],)), dependencies), claim)
    assert isinstance(lost, Fail | Retry)
    assert (lost.code, lost.drop_checkpoint) == ("result_lost", True)


def test_more_images_than_are_kept_are_named(kit: LaneKit, dependencies: EditDependencies) -> None:
    """If the answer has more images than are stored, a warning has the number of images in the answer."""
    with RawServer(Host()) as server:
        kept = store_images(
            claim_after(kit, 0),
            Ready((server.url("/a.png"),), more=((server.url("/b.png"),),), beyond=17),
            dependencies,
        )
    assert isinstance(kept, Stored)
    assert (kept.image.warnings, len(kept.others)) == (("outputs_beyond_16:17",), 1)


def test_a_lost_lease_ends_the_downloads(kit: LaneKit, dependencies: EditDependencies) -> None:
    """A worker that lost its lease stops after the current image, and records nothing."""
    host = Host()
    with RawServer(host) as server:
        claim = claim_after(kit, 0)
        kit.client.hincrby(f"rt:edits:state:{claim.job}", "fence", 1)
        outcome = store_images(claim, Ready((server.url("/a.png"),), more=((server.url("/b.png"),),)), dependencies)
    assert outcome == Stale()
    assert host.asked == ["/a.png"]
    assert kit.client.hget(f"rt:edits:state:{claim.job}", "checkpoint") is None


def test_what_was_brought_home_outlives_a_cancel(kit: LaneKit, dependencies: EditDependencies) -> None:
    """
    If a job is cancelled while one image is late, the stored images are kept. A replay downloads only the late image.
    """
    host = Host()
    host.gone = {"/b.png"}
    with RawServer(host) as server:
        claim = claim_after(kit, 0)
        ready = Ready((server.url("/a.png"),), "7", more=((server.url("/b.png"),),))
        outcome = store_images(claim, ready, dependencies)
        assert isinstance(outcome, ImageUnavailable)
        kit.jobs.settle(claim, follows(outcome, claim))
        kit.client.delete(KEPT)
        assert kit.jobs.cancel(claim.job)[0] == "cancelled"
        (name,) = kit.client.zrange(KEPT, 0, -1)
        assert name == outcome.images[0].name
        assert kit.jobs.replay(claim.job)[0] == "replayed"
        host.gone = set()
        host.asked.clear()
        claim = kit.claim(claim.job)
        assert isinstance(claim.checkpoint, Ready)
        assert isinstance(store_images(claim, claim.checkpoint, dependencies), Stored)
    assert host.asked == ["/b.png"]
