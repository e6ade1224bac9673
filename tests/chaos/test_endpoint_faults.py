"""Unusual faults of the endpoint with a real worker: requested waits, answers that drip, outputs that never appear."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from typing import Any

import pytest
import requests

from retouch import Edit
from retouch.blobs.interface import content_name
from retouch.store.ledger import Ledger
from retouch.store.records import JobError, JobRecord
from tests.chaos.faulty_worker import start_odd_worker
from tests.chaos.stack import FINAL, Stage, a_stage
from tests.process_watch import eventually
from tests.store_access import store_access

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]
numbers = count()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with a_stage(tmp_path_factory.mktemp("trouble"), latency_s=0.02, pix2pix_timeout_s=3.0) as stage:
        start_odd_worker(stage, 10, "--download-timeout-s", "1", "--poll-timeout-s", "1")
        yield stage


@pytest.fixture
def stage(shared: Stage) -> Stage:
    shared.simulator.reset()
    return shared


def enqueue(stage: Stage, image: str = "", **options: Any) -> str:
    edit = Edit(prompt=f"winter [[{next(numbers)}]]", init_image=image or stage.simulator.portrait_url)
    return stage.queue.enqueue(edit, **options).id


def record(stage: Stage, job: str) -> JobRecord:
    return stage.records([job])[0]


def error_of(stage: Stage, job: str) -> JobError:
    return record(stage, job).error or JobError("", "", retryable=False)


def final(stage: Stage, job: str) -> JobRecord:
    assert eventually(lambda: record(stage, job).state in FINAL)
    return record(stage, job)


def make_due(stage: Stage, job: str) -> None:
    """End the job's wait now."""
    assert store_access(stage.queue).client.zadd("rt:edits:timetable", {job: 1}, xx=True, ch=True) == 1


def charged(stage: Stage) -> int:
    return int(stage.simulator.books(totals=True)["charged"])


@pytest.mark.parametrize(
    ("kind", "code", "wait_s"),
    [
        ("queue_full", "queue_full", 17.0),
        ("retry_after_header", "queue_full", 17.0),
        ("spam_filter", "spam_filter", 1.0),
    ],
)
def test_the_wait_that_the_endpoint_asks_for(stage: Stage, kind: str, code: str, wait_s: float) -> None:
    """A job waits as long as the endpoint asks. The wait costs no attempt and no charge."""
    stage.simulator.settings(retry_after_s=17.0)
    stage.simulator.faults(next=[{"kind": kind}])
    job = enqueue(stage)
    assert eventually(lambda: error_of(stage, job).code == code)
    make_due(stage, job)
    done = final(stage, job)
    assert (done.state, done.attempt, charged(stage)) == ("succeeded", 1, 1)
    entries: list[Any] = store_access(stage.queue).jobs.timeline(job)
    (waited,) = (entry for entry in entries if entry["type"] == "edit.retrying")
    assert wait_s <= waited["delay_s"] <= wait_s * 1.2


def test_processing_for_ever_ends_at_the_deadline(stage: Stage) -> None:
    """If the endpoint never finishes a job, the job fails at its deadline after one POST, and the charge is wasted."""
    stage.simulator.settings(processing_s=60.0, eta_s=1.0)
    stage.simulator.faults(next=[{"kind": "processing_forever"}])
    job = enqueue(stage, tenant="patient", deadline_s=3.0)
    done = final(stage, job)
    assert (done.state, (done.error and done.error.code)) == ("failed", "deadline_passed")
    assert done.resumable
    assert charged(stage) == 1
    assert stage.simulator.books(totals=True)["fetches"] >= 1
    (row,) = Ledger(store_access(stage.queue).client).usage(tenant="patient")
    assert (row.wasted, row.unknown, row.useful) == (1, 0, 0)


def test_an_output_that_never_comes_is_paid_for_anew_where_that_is_allowed(stage: Stage) -> None:
    """With `max_charges` 2, a job whose output cannot be read is POSTed again after twenty waits."""
    stage.simulator.faults(next=[{"output_kind": "truncated"}])
    job = enqueue(stage, tenant="lost", max_charges=2)
    assert eventually(lambda: record(stage, job).state == "retrying")
    assert record(stage, job).resumable
    store_access(stage.queue).client.hset(f"rt:edits:state:{job}", "waits", 20)
    make_due(stage, job)
    done = final(stage, job)
    assert (done.state, len(done.charges), charged(stage)) == ("succeeded", 2, 2)
    (row,) = Ledger(store_access(stage.queue).client).usage(tenant="lost")
    assert (row.useful, row.repeated) == (1, 1)


def test_an_output_that_never_comes_with_one_charge_allowed(stage: Stage) -> None:
    """With `max_charges` 1, a job whose output cannot be read fails with `result_lost`, and cannot resume."""
    stage.simulator.faults(next=[{"output_kind": "html"}])
    job = enqueue(stage, max_charges=1)
    assert eventually(lambda: record(stage, job).state == "retrying")
    store_access(stage.queue).client.hset(f"rt:edits:state:{job}", "waits", 20)
    make_due(stage, job)
    done = final(stage, job)
    assert (done.state, (done.error and done.error.code), done.resumable) == ("failed", "result_lost", False)
    assert charged(stage) == 1


@pytest.fixture
def picture_url(stage: Stage) -> Iterator[str]:
    """Yield the URL of a picture. Like our own links, the URL contains the hash of the picture."""
    picture = requests.get(stage.simulator.portrait_url, timeout=10).content

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(picture)))
            self.end_headers()
            self.wfile.write(picture)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/files/{content_name(picture, 'jpg')}"
        server.shutdown()


def test_the_input_itself_as_output(stage: Stage, picture_url: str) -> None:
    """An output with the same bytes as the input is stored with the warning `same_as_input`."""
    stage.simulator.faults(next=[{"output_kind": "same_as_input"}])
    done = final(stage, enqueue(stage, picture_url))
    assert done.state == "succeeded"
    assert done.images[0].warnings == ("same_as_input",)


def test_an_answer_that_drips_is_cut_at_the_total_deadline(stage: Stage) -> None:
    """
    If the answer to a POST comes byte by byte, the call is cut at its time limit.

    After two of these calls, a job with `max_charges` 2 fails with `outcome_unknown`.
    """
    stage.simulator.settings(drip_bytes_per_s=5.0)
    stage.simulator.faults(next=[{"kind": "drip", "times": 2}])
    job = enqueue(stage, max_charges=2)
    done = final(stage, job)
    assert (done.state, (done.error and done.error.code)) == ("failed", "outcome_unknown")
    assert charged(stage) == 2
    took = [(charge.answered_at or 0.0) - charge.intent_at for charge in done.charges]
    assert all(2.9 <= seconds < 20.0 for seconds in took), "the whole answer would drip for a minute"


def test_a_poll_that_drips_is_followed_by_another(stage: Stage) -> None:
    """
    A poll whose answer comes byte by byte is cut at its time limit. The next poll gets the result without a charge.
    """
    stage.simulator.settings(drip_bytes_per_s=5.0, processing_s=0.1, eta_s=1.0)
    stage.simulator.faults(next=[{"kind": "processing"}], next_fetch=[{"kind": "drip"}])
    done = final(stage, enqueue(stage))
    assert (done.state, charged(stage), stage.simulator.books(totals=True)["fetches"]) == ("succeeded", 1, 2)


def test_a_download_that_drips_is_tried_again(stage: Stage) -> None:
    """A download that is too slow is cut at its time limit. A later download succeeds without a second POST."""
    stage.simulator.settings(output_bytes_per_s=2_000.0)
    job = enqueue(stage)
    assert eventually(lambda: record(stage, job).state == "retrying")
    assert "download" in error_of(stage, job).message
    stage.simulator.settings(output_bytes_per_s=0.0)
    make_due(stage, job)
    assert (final(stage, job).state, charged(stage)) == ("succeeded", 1)


def test_the_worker_came_through(shared: Stage) -> None:
    """After all of these faults the worker still runs, no slot is held, and its log has no traceback."""
    client = store_access(shared.queue).client
    assert shared.workers[0].poll() is None
    assert client.zcard("rt:edits:slots") + client.hlen("rt:edits:held") == 0
    assert "Traceback" not in (shared.folder / "workers.log").read_text()
