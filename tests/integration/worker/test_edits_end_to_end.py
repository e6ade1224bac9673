"""An edit from enqueueing to webhook, with a real worker, broker, store and simulator, as a backend sees it."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import standardwebhooks
import svix
from kombu import Connection
from PIL import Image

from retouch import (
    Edit,
    EditCancelled,
    EditFailed,
    EditQueue,
    IdempotencyConflict,
    Job,
    JobOptions,
    JobState,
    ResultTimeout,
    Settings,
    UnknownJob,
    verify_webhook,
)
from retouch.store.records import JobRecord
from retouch.store.redis_client import connect
from retouch_ops.simulator.process import Simulator
from tests.process_watch import eventually

if TYPE_CHECKING:
    from tests.conftest import RunningWorker, Sink

PATIENCE_S = 30.0
pytestmark = pytest.mark.usefixtures("module_worker")


@pytest.fixture
def edit(simulator: Simulator) -> Any:
    """Return a function that makes an edit whose prompt contains the given tag."""

    def make(tag: str, **fields: Any) -> Edit:
        return Edit(prompt=f"make it winter [[{tag}]]", init_image=simulator.portrait_url, **fields)

    return make


def entry(simulator: Simulator, tag: str) -> dict[str, Any]:
    found: dict[str, Any] = simulator.books()["by_tag"][tag]
    return found


def failure(job: Job) -> EditFailed:
    with pytest.raises(EditFailed) as caught:
        job.result(PATIENCE_S)
    return caught.value


def waits_for_its_output(job: Job) -> JobRecord:
    """Wait until the job is in the state `retrying`; return the job's record."""
    assert eventually(lambda: job.state == JobState.RETRYING), job.record()
    return job.record()


def test_an_edit_goes_the_whole_way(queue: EditQueue, edit: Any, simulator: Simulator, sink: Sink) -> None:
    """An edit is enqueued, POSTed once and stored; two independent libraries verify its webhook."""
    job = queue.enqueue(
        edit("whole", steps=30), webhook=f"{sink.url}/hook", tags={"order": "17"}, events=["edit.running"]
    )
    result = job.result(PATIENCE_S)
    assert Image.open(io.BytesIO(result.image)).size == result.size
    assert (result.format, result.warnings, len(result.image)) == ("PNG", (), result.bytes)
    assert f"/{result.sha256}.png?" in result.url
    running, succeeded = sink.wait_for(2)
    secret = queue.receiver(f"{sink.url}/hook").secret
    for request in (running, succeeded):
        headers = {name.lower(): value for name, value in request.headers.items()}
        event = verify_webhook(request.body, headers, secret)
        assert standardwebhooks.Webhook(secret).verify(request.body, headers) == event
        svix.Webhook(secret).verify(request.body, headers)
        assert event["data"]["tags"] == {"order": "17"}
    events = {json.loads(request.body)["type"]: json.loads(request.body)["data"] for request in (running, succeeded)}
    assert events["edit.succeeded"]["result"]["sha256"] == result.sha256
    assert events["edit.succeeded"]["charges"]["certain"] == 1
    assert events["edit.running"]["result"] is None
    assert entry(simulator, "whole")["posts"] == 1
    assert [event["type"] for event in job.events()] == ["edit.queued", "edit.running", "edit.succeeded"]
    assert eventually(lambda: {record.state for record in job.deliveries()} == {"delivered"})


def test_processing_is_polled(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """A job that is answered `processing` is polled until the edit is done; it is POSTed only once."""
    simulator.faults(next=[{"kind": "processing", "tag": "slow"}])
    job = queue.enqueue(edit("slow"))
    assert job.result(PATIENCE_S).format == "PNG"
    assert entry(simulator, "slow")["posts"] == 1
    assert simulator.books()["fetches"] >= 1


def test_a_generation_that_fails_is_posted_again(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """When a generation fails after the answer `processing`, the job POSTs again, even with max_charges=1."""
    simulator.faults(next=[{"kind": "processing_failed", "tag": "broken"}])
    job = queue.enqueue(edit("broken"), max_charges=1)
    assert job.result(PATIENCE_S).format == "PNG"
    assert entry(simulator, "broken")["posts"] == 2
    assert [charge.kind for charge in job.record().charges] == ["failed", "succeeded"]


REFUSALS = {
    "bad_key": ("bad_key", "Invalid Api Key"),
    "invalid_request": ("invalid_request", "Invalid API Request"),
    "no_credits": ("no_credits", "Insufficient credits"),
    "validation": ("validation", "The prompt field is required."),
    "image_unfetchable": ("image_unfetchable", "Unable to fetch image"),
}


@pytest.mark.parametrize("errors_inside_200", [True, False])
def test_refusals_end_in_the_endpoints_own_words(
    queue: EditQueue, edit: Any, simulator: Simulator, errors_inside_200: bool
) -> None:
    """Each refusal fails the job after one free POST. The error has a stable code and the endpoint's message."""
    simulator.settings(errors_inside_200=errors_inside_200)
    simulator.faults(next=[{"kind": kind, "tag": kind} for kind in REFUSALS])
    jobs = {kind: queue.enqueue(edit(kind)) for kind in REFUSALS}
    for kind, (code, words) in REFUSALS.items():
        error = failure(jobs[kind])
        assert (error.code, error.retryable, error.charges) == (code, False, 0)
        assert words in error.message
        assert entry(simulator, kind) == {"posts": 1, "charged": 0, "statuses": [kind]}


UNKNOWNS = ("html_502", "unparseable", "reset_after_work", "statusless_200")


def test_an_unknown_outcome_is_not_paid_for_twice_without_leave(
    queue: EditQueue, edit: Any, simulator: Simulator
) -> None:
    """With max_charges=1, a job whose answer is lost fails as outcome_unknown after exactly one POST."""
    simulator.faults(next=[{"kind": kind, "tag": kind} for kind in UNKNOWNS])
    jobs = {kind: queue.enqueue(edit(kind), max_charges=1) for kind in UNKNOWNS}
    for kind, job in jobs.items():
        error = failure(job)
        assert (error.code, error.retryable, error.charges) == ("outcome_unknown", True, 1)
        assert entry(simulator, kind)["posts"] == 1


def test_an_unknown_outcome_is_repeated_once_where_two_charges_are_allowed(
    queue: EditQueue, edit: Any, simulator: Simulator
) -> None:
    """With max_charges=2, a job whose answer was lost POSTs again after the time of the spam filter, and succeeds."""
    simulator.faults(next=[{"kind": kind, "tag": kind} for kind in UNKNOWNS])
    jobs = {kind: queue.enqueue(edit(kind), max_charges=2) for kind in UNKNOWNS}
    for job in jobs.values():
        assert job.result(PATIENCE_S).format == "PNG"
        assert [charge.kind for charge in job.record().charges] == ["unknown", "succeeded"]
    posts = {kind: entry(simulator, kind)["statuses"] for kind in UNKNOWNS}
    assert {kind: len(statuses) for kind, statuses in posts.items()} == dict.fromkeys(UNKNOWNS, 2)
    assert simulator.books()["refused"] == {}


def test_a_full_queue_is_waited_for(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """If the endpoint's queue is full, the job waits and then succeeds with its only attempt and its only charge."""
    simulator.settings(retry_after_s=1.0)
    simulator.faults(next=[{"kind": "queue_full", "tag": "busy"}])
    job = queue.enqueue(edit("busy"), max_attempts=1, max_charges=1)
    assert job.result(PATIENCE_S).format == "PNG"
    record = job.record()
    assert (record.attempt, [charge.kind for charge in record.charges]) == (1, ["refused", "succeeded"])


def test_an_output_that_is_late_is_downloaded_later(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """If the link of an output first returns 404 or a page, the output is downloaded later, without a second POST."""
    simulator.settings(output_delay_s=0.5)
    missing = queue.enqueue(edit("late-404"))
    assert missing.result(PATIENCE_S).format == "PNG"
    simulator.settings(output_delay_s=0.5, output_early="html")
    page = queue.enqueue(edit("late-page"))
    assert page.result(PATIENCE_S).format == "PNG"
    assert [entry(simulator, tag)["posts"] for tag in ("late-404", "late-page")] == [1, 1]


def test_what_is_no_picture_is_never_a_success(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """If an output is a page, half a picture or an SVG, the job waits for another download, without a second POST."""
    kinds = ("html", "truncated", "svg")
    simulator.faults(next=[{"tag": kind, "output_kind": kind} for kind in kinds])
    jobs = {kind: queue.enqueue(edit(kind)) for kind in kinds}
    for kind, job in jobs.items():
        record = waits_for_its_output(job)
        assert record.error is not None
        assert record.error.code == "result_not_yet"
        assert record.resumable
        assert job.cancel() == "cancelled"
        assert entry(simulator, kind)["posts"] == 1


def test_odd_pictures_are_kept_with_a_warning(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """
    If a picture has one colour, or if the endpoint flagged it, the job succeeds with a warning. A decompression bomb
    fails the job.
    """
    simulator.faults(
        next=[
            {"tag": "flat", "output_kind": "flat"},
            {"tag": "flagged", "kind": "flagged"},
            {"tag": "bomb", "output_kind": "bomb"},
        ]
    )
    flat, flagged, bomb = (queue.enqueue(edit(tag)) for tag in ("flat", "flagged", "bomb"))
    assert flat.result(PATIENCE_S).warnings == ("flat_colour",)
    assert set(flagged.result(PATIENCE_S).warnings) == {"flat_colour", "flagged"}
    error = failure(bomb)
    assert (error.code, error.charges) == ("result_rejected", 1)
    assert entry(simulator, "bomb")["posts"] == 1


def test_cancelling_before_the_call_costs_nothing(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """A waiting job is cancelled at once, and the endpoint never gets it."""
    queue.pause()
    job = queue.enqueue(edit("never"))
    assert job.cancel() == "cancelled"
    queue.resume()
    with pytest.raises(EditCancelled) as caught:
        job.result(PATIENCE_S)
    assert caught.value.when == "before_charge"
    assert "never" not in simulator.books()["by_tag"]
    assert job.cancel() == "final"


def test_cancelling_during_the_call_keeps_what_it_brought(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """
    A job that is cancelled during its call is paid and ends as cancelled. A replay succeeds without a second POST.
    """
    simulator.settings(latency_s=600)
    job = queue.enqueue(edit("during"))
    assert eventually(lambda: "during" in simulator.books()["by_tag"])
    assert job.cancel() == "requested"
    simulator.settings(latency_s=0.02)
    with pytest.raises(EditCancelled) as caught:
        job.result(PATIENCE_S)
    assert caught.value.when == "after_charge"
    assert job.replay() == "replayed"
    assert job.result(PATIENCE_S).format == "PNG"
    assert entry(simulator, "during")["posts"] == 1


def test_a_replay_goes_on_from_what_was_paid(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """A replay downloads the paid output without a second POST, even if the job was cancelled before the download."""
    simulator.settings(output_delay_s=0.4)
    job = queue.enqueue(edit("again"))
    assert waits_for_its_output(job).resumable
    assert job.cancel() == "cancelled"
    assert job.replay() == "replayed"
    assert job.result(PATIENCE_S).format == "PNG"
    assert entry(simulator, "again")["posts"] == 1


def test_a_callback_arrives_in_the_backends_own_app(
    queue: EditQueue, edit: Any, simulator: Simulator, redis_url: str, client: Any
) -> None:
    """The callback's queue gets the event, without the prompt and the address of the picture."""
    job = queue.enqueue(edit("callback"), callback="billing.tasks.edited", tags={"order": "17"})
    job.result(PATIENCE_S)
    with Connection(redis_url) as connection, connection.SimpleQueue("billing") as billing:
        message = billing.get(timeout=PATIENCE_S)
        message.ack()
    assert message.headers["task"] == "billing.tasks.edited"
    ((event,), _, _) = message.payload
    assert (event["type"], event["data"]["job_id"], event["data"]["tags"]) == (
        "edit.succeeded",
        job.id,
        {"order": "17"},
    )
    assert "winter" not in json.dumps([message.payload, message.headers])
    assert simulator.url not in json.dumps(event["data"]["edit"])
    client.delete("billing", "_kombu.binding.billing")


def test_many_at_once_keep_their_order_and_the_limit(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """`enqueue_many` returns the handles of sixty jobs in order; the calls in flight never exceed the limit."""
    wanted = [(edit(f"many-{n}"), JobOptions(tenant=f"tenant{n % 3}")) for n in range(60)]
    jobs = queue.enqueue_many(wanted)
    assert [job.record().spec.edit["prompt"] for job in jobs] == [request.prompt for request, _ in wanted]
    assert {job.result(PATIENCE_S).format for job in jobs} == {"PNG"}
    books = simulator.books()
    assert books["posts"] == books["charged"] == 60
    assert books["max_in_flight"] <= 15
    assert books["refused"] == {}
    assert len(list(queue.jobs(state="succeeded", tenant=None))) == 60
    assert len(queue.events(limit=1_000)) == 120


def test_a_key_that_is_repeated_pays_once(queue: EditQueue, edit: Any, simulator: Simulator) -> None:
    """An equal request with the same idempotency key returns the first job. A different request is refused."""
    first = queue.enqueue(edit("once"), idempotency_key="order-17")
    again = queue.enqueue(edit("once"), idempotency_key="order-17")
    assert (again.id, again.replayed, first.replayed) == (first.id, True, False)
    with pytest.raises(IdempotencyConflict):
        queue.enqueue(edit("twice"), idempotency_key="order-17")
    first.result(PATIENCE_S)
    assert entry(simulator, "once")["posts"] == 1
    assert "twice" not in simulator.books()["by_tag"]


def test_waiting_ends_without_ending_the_job(queue: EditQueue, edit: Any) -> None:
    """After its timeout, `result` raises ResultTimeout, and the job goes on. For an unknown id it raises UnknownJob."""
    queue.pause()
    job = queue.enqueue(edit("patience"))
    with pytest.raises(ResultTimeout, match="still queued"):
        job.result(0.05)
    queue.resume()
    assert job.result(PATIENCE_S).format == "PNG"
    with pytest.raises(UnknownJob):
        queue.job("ed_none").result(1)


def test_a_closed_queue_leaves_no_connection(redis_url: str, client: Any) -> None:
    """After `close` the queue has no connection to Redis, neither to the store nor to the broker."""

    def connected() -> int:
        return len([entry for entry in client.client_list() if entry["db"] == "1"])

    other = redis_url.removesuffix("/0") + "/1"
    with EditQueue(redis_url=other) as queue:
        queue.enqueue(Edit(prompt="make it winter", init_image="https://pictures.example.com/in.png"))
        assert connected() >= 2
    assert eventually(lambda: connected() == 0)
    cleaner: Any = connect(Settings.load(redis_url=other))
    cleaner.flushdb()
    cleaner.close()


def test_the_worker_is_well(module_worker: RunningWorker) -> None:
    """After all of these tests the worker still runs, and its log has no traceback."""
    assert module_worker.process.poll() is None
    assert "Traceback" not in module_worker.log
