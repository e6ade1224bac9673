"""If the endpoint cannot read a picture, it gets our copy; gateway, workers, simulator and picture server are real."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from retouch.outcomes import Retry
from retouch_ops.simulator.process import Simulator
from tests.chaos.stack import environment_of
from tests.gateway_process import Api, Callers
from tests.lane_kit import LaneKit
from tests.process_watch import eventually
from tests.served_http import served

if TYPE_CHECKING:
    from tests.conftest import RunningWorker

PHOTO = (Path(__file__).parents[3] / "ops" / "retouch_ops" / "samples" / "portrait.jpg").read_bytes()
FINAL = {"succeeded", "failed", "cancelled"}
ASKED_TWICE = ["image_unfetchable", "success"]


@pytest.fixture(scope="module")
def shy_picture() -> Iterator[str]:
    """Yield the URL of a picture that only our gateway can read; the endpoint and all other clients get 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            knows_us = self.headers["User-Agent"] == "Retouch"
            self.send_response(200 if knows_us else 404)
            self.send_header("Content-Length", str(len(PHOTO) if knows_us else 0))
            self.end_headers()
            self.wfile.write(PHOTO if knows_us else b"")

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with served(Handler) as url:
        yield f"{url}/in.jpg"


@dataclass
class Shop:
    """A backend whose picture the endpoint cannot read. It enqueues with `api`, and `simulator` is the endpoint."""

    api: Api
    picture: str
    simulator: Simulator

    def enqueue(self, tag: str, **more: Any) -> str:
        """Enqueue an edit with this tag, and return the id of the job."""
        answer = self.api.post("/v1/edits", {"prompt": f"winter [[{tag}]]", "init_image": self.picture, **more})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def over(self, job: str) -> dict[str, Any]:
        """Wait until the job has ended, and return its JSON."""
        path = f"/v1/edits/{job}"
        assert eventually(lambda: self.api.get(path).json()["state"] in FINAL), self.api.get(path).text
        record: dict[str, Any] = self.api.get(path).json()
        return record

    def statuses(self, tag: str) -> list[str]:
        """Return the endpoint's answers to the POSTs with this tag, in order."""
        answers: list[str] = self.simulator.books()["by_tag"][tag]["statuses"]
        return answers


@pytest.fixture
def shop(callers: Callers, shy_picture: str, simulator: Simulator) -> Shop:
    return Shop(callers(), shy_picture, simulator)


def test_a_link_that_only_we_can_read_is_answered_with_our_copy(
    shop: Shop, worker: Callable[..., RunningWorker], gateway_url: str
) -> None:
    """
    After the endpoint has refused the caller's link, the job sends a signed link to our copy. The job succeeds in its
    first attempt, with a warning.
    """
    worker(public_url=gateway_url)
    job = shop.enqueue("copy", max_charges=1, max_attempts=1)
    done = shop.over(job)
    assert done["state"] == "succeeded", done
    assert done["result"]["warnings"] == ["read_our_copy"]
    assert (shop.statuses("copy"), done["charges"]["certain"], done["attempt"]) == (ASKED_TWICE, 1, 1)
    timeline = shop.api.get(f"/v1/edits/{job}/timeline").json()["events"]
    retrying = next(event for event in timeline if event["type"] == "edit.retrying")
    assert retrying["data"]["error"]["code"] == "image_unfetchable"
    assert "our copy" in retrying["data"]["error"]["message"]


def test_our_copy_is_sent_once(shop: Shop, worker: Callable[..., RunningWorker], shy_picture: str) -> None:
    """
    If the endpoint cannot read the link to our copy either, the job fails after two free refusals. The error names
    RETOUCH_PUBLIC_URL.
    """
    worker(public_url=shy_picture.rpartition("/")[0])
    job = shop.enqueue("neither")
    failed = shop.over(job)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "image_unfetchable")
    assert "RETOUCH_PUBLIC_URL" in failed["error"]["message"]
    assert shop.statuses("neither") == ["image_unfetchable"] * 2
    assert (failed["charges"]["possible"], failed["error"]["retryable"]) == (0, False)
    shop.api.post(f"/v1/edits/{job}/replay")
    assert eventually(lambda: shop.statuses("neither") == ["image_unfetchable"] * 4)
    assert shop.over(job)["state"] == "failed"


def test_without_an_outside_address_all_is_as_before(
    shop: Shop, worker: Callable[..., RunningWorker], gateway_url: str
) -> None:
    """
    If `public_url` is an address in a private network, the worker sends no link to our copy, and the job fails after
    one refusal.
    """
    worker(public_url="http://retouch.internal", dangerous_allow_private_networks="")
    failed = shop.over(shop.enqueue("inside"))
    assert (failed["state"], failed["error"]["code"]) == ("failed", "image_unfetchable")
    assert "must be public" in failed["error"]["message"]
    assert shop.statuses("inside") == ["image_unfetchable"]


@contextmanager
def doomed_worker(environment: dict[str, str], point: str, passes: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """
    Context manager that yields a worker process. The process kills itself when it passes `point` for the `passes`-th
    time.
    """
    code = (
        "from pathlib import Path; from retouch_ops.worker_process import main; from "
        "tests.chaos.worker_kills import arm; "
        f"arm({point!r}, {passes}, Path({str(log)!r})); main(['doomed', 'edits,deliveries', '4'])"
    )
    with log.with_suffix(".out").open("wb") as out:
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=out, stderr=out)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("point", "passes", "statuses"),
    [
        ("before settle", 1, ASKED_TWICE),  # the refusal is on record, what follows it is not
        ("after POST", 2, [*ASKED_TWICE, "success"]),  # its answer is lost: max_charges allows one more
    ],
)
def test_a_crash_between_the_two_posts_goes_on_with_our_copy(
    shop: Shop,
    queue: Any,
    worker: Callable[..., RunningWorker],
    gateway_url: str,
    tmp_path: Path,
    point: str,
    passes: int,
    statuses: list[str],
) -> None:
    """If a worker dies after the endpoint has refused the caller's link, the next worker sends a link to our copy."""
    settings = queue.settings.model_copy(update={"public_url": gateway_url, "lease_s": 3.0})
    log = tmp_path / "deaths"
    with doomed_worker(environment_of(settings), point, passes, log) as process:
        job = shop.enqueue("crash", max_charges=2)
        assert eventually(lambda: process.poll() == -signal.SIGKILL), log.with_suffix(".out").read_text()
    worker(public_url=gateway_url, lease_s=3)
    done = shop.over(job)
    assert (done["state"], done["result"]["warnings"]) == ("succeeded", ["read_our_copy"])
    assert shop.statuses("crash") == statuses


def test_a_replay_begins_with_the_callers_link(client: Any) -> None:
    """A replay sends the caller's own link first, since the endpoint may be able to read it now."""
    kit = LaneKit(client)
    kit.enqueue(kit.new(input="ab/abc.png"))
    (job,) = kit.dispatched()
    first = kit.claim(job)
    kit.jobs.intend(first)
    kit.jobs.answer(first, "refused", None, "alive", read_copy=True)
    kit.jobs.settle(first, Retry(0.0, "image_unfetchable", "unread", refund=True))
    kit.make_due("edits", "timetable")
    kit.rescue()
    second = kit.claim(job)
    assert (first.reads_copy, second.reads_copy, second.number) == (False, True, 0)
    kit.jobs.cancel(job)
    kit.jobs.settle(second, Retry(0.0, "queue_full", "full"))
    kit.jobs.replay(job)
    assert kit.claim(job).reads_copy is False
