"""The same tests run with four clients: plain and asyncio, each over Redis and over the gateway."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from retouch import (
    Edit,
    EditCancelled,
    EditFailed,
    EditQueue,
    IdempotencyConflict,
    InvalidEdit,
    QueueFull,
    ResultTimeout,
    StoreUnavailable,
    UnknownJob,
    verify_webhook,
)
from retouch.store.jobs import JobStore
from retouch.store.records import JobRecord
from retouch.store.tenants import TenantStore
from retouch_ops.simulator.process import Simulator
from tests.async_driver import driven
from tests.conftest import RunningWorker, Sink
from tests.gateway_process import LINK_KEY, running_gateway
from tests.process_watch import eventually

SECRET = "rtk_conformance-test"


@pytest.fixture(scope="module")
def gateway_url(worker_environment: dict[str, str]) -> Iterator[str]:
    with running_gateway({**worker_environment, "RETOUCH_CAPTURE_INPUT": "off"}) as (url, _):
        yield url


@pytest.fixture(params=["plain-redis", "asyncio-redis", "plain-gateway", "asyncio-gateway"])
def queue(
    request: pytest.FixtureRequest, worker_environment: dict[str, str], client: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Yield one of the four clients; over the gateway, it has a key of role ops of the default tenant."""
    kind, _, way = request.param.partition("-")
    for name, value in worker_environment.items():
        if name.startswith("RETOUCH_"):
            monkeypatch.setenv(name, value)
    given: dict[str, Any] = {}
    if way == "gateway":
        client.set("rt:link_key", LINK_KEY)
        TenantStore(client).add_key(SECRET, "default", "ops", "conformance")
        given = {"url": request.getfixturevalue("gateway_url"), "api_key": SECRET}
    with EditQueue(**given) if kind == "plain" else driven(**given) as queue:
        yield queue
        for job in queue.jobs(limit=2_000):
            job.cancel()


@pytest.fixture
def edit(simulator: Simulator) -> Edit:
    return Edit(prompt="make it winter", init_image=simulator.portrait_url, steps=30)


def test_an_enqueued_job_is_on_record(queue: Any, edit: Edit) -> None:
    """A job that was just enqueued is queued, and its record has the edit, the tenant and the time."""
    begun_at = time.time()
    job = queue.enqueue(edit, priority="high", tags={"order": "17"}, max_charges=1)
    assert job.id.startswith("ed_")
    assert job.replayed is False
    assert job.state == "queued"
    record = job.record()
    assert record.spec.edit == edit.fields()
    assert (record.spec.tenant, record.spec.priority, record.spec.tags) == ("default", "high", {"order": "17"})
    assert abs(record.created_at - begun_at) < 10
    assert (record.charges, record.error, record.images, record.attempt) == ((), None, (), 0)


def test_many_edits_are_enqueued_in_order(queue: Any, edit: Edit) -> None:
    """`enqueue_many` returns 1,100 jobs in the order of their edits; options of one edit apply to that edit alone."""
    requests = [edit.model_copy(update={"prompt": f"number {at}"}) for at in range(1_100)]
    jobs = queue.enqueue_many([(requests[0], {"priority": "low"}), *requests[1:]], tags={"batch": "1"})
    assert len({job.id for job in jobs}) == 1_100
    records = [jobs[at].record() for at in (0, 1, 999, 1_000, 1_099)]
    assert [record.spec.edit["prompt"] for record in records] == [f"number {at}" for at in (0, 1, 999, 1_000, 1_099)]
    assert [record.spec.priority for record in records] == ["low", *["normal"] * 4]
    assert all(record.spec.tags == {"batch": "1"} for record in records)


def test_no_edits_make_no_jobs(queue: Any) -> None:
    """`enqueue_many` with an empty list returns an empty list."""
    assert queue.enqueue_many([]) == []


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"priority": "urgent"}, "priority"),
        ({"max_charges": 0}, "max_charges"),
        ({"deadline_s": -1}, "deadline_s"),
        ({"webhook": "ftp://example.com"}, "webhook"),
        ({"tags": {"a": "x" * 300}}, "tags"),
    ],
)
def test_a_wrong_option_is_refused(queue: Any, edit: Edit, options: dict[str, Any], field: str) -> None:
    """A wrong option raises an `InvalidEdit` that names it, and nothing is enqueued."""
    with pytest.raises(InvalidEdit) as raised:
        queue.enqueue(edit, **options)
    assert [name for name, _ in raised.value.faults] == [field]
    assert list(queue.jobs()) == []


def test_a_wrong_item_is_named_by_its_place(queue: Any, edit: Edit) -> None:
    """A wrong option of the second of three edits is named as `edits[1].priority`, and no edit is enqueued."""
    with pytest.raises(InvalidEdit) as raised:
        queue.enqueue_many([edit, (edit, {"priority": "urgent"}), edit])
    assert [name for name, _ in raised.value.faults] == ["edits[1].priority"]
    assert list(queue.jobs()) == []


def test_what_the_settings_forbid_is_refused(queue: Any, edit: Edit) -> None:
    """A callback that is not on the allow-list raises `InvalidEdit`, in `enqueue` and in `enqueue_many`."""
    with pytest.raises(InvalidEdit) as raised:
        queue.enqueue(edit, callback="os.system")
    assert [name for name, _ in raised.value.faults] == ["callback"]
    with pytest.raises(InvalidEdit) as raised:
        queue.enqueue_many([edit, (edit, {"callback": "os.system"})])
    assert [name for name, _ in raised.value.faults] == ["edits[1].callback"]


def test_an_unknown_option_is_a_mistake_in_the_program(queue: Any, edit: Edit) -> None:
    """A misspelt option raises a `TypeError` that names the known options."""
    with pytest.raises(TypeError, match="idempotency_key"):
        queue.enqueue(edit, idempotency="x")


def test_an_idempotency_key_is_one_job(queue: Any, edit: Edit) -> None:
    """
    A repeated request with the same key and edit returns the same job, and `replayed` is True. The same key with
    another edit raises `IdempotencyConflict`.
    """
    job = queue.enqueue(edit, idempotency_key="order 17")
    again = queue.enqueue(edit, idempotency_key="order 17")
    assert (again.id, again.replayed, job.replayed) == (job.id, True, False)
    with pytest.raises(IdempotencyConflict, match="1 of 1"):
        queue.enqueue(edit.model_copy(update={"steps": 31}), idempotency_key="order 17")


def test_a_tenant_without_room_gets_an_error(queue: Any, edit: Edit, client: Any) -> None:
    """If only some jobs have room, `enqueue_many` enqueues them and raises `QueueFull` with reason and wait."""
    queue.pause()
    TenantStore(client).set_tenant("default", backlog_limit=2)
    with pytest.raises(QueueFull) as raised:
        queue.enqueue_many([edit] * 5)
    assert (raised.value.reason, raised.value.refused) == ("backlog", 3)
    assert raised.value.retry_after_s > 0
    assert len(list(queue.jobs())) == 2


def test_an_id_that_never_was(queue: Any) -> None:
    """`queue.job` accepts an unknown id. Each call of the returned job raises `UnknownJob`."""
    job = queue.job("ed_000000000000000000000000")
    for ask in (job.record, lambda: job.state, job.cancel, job.replay, lambda: job.result(0), lambda: [*job.events()]):
        with pytest.raises(UnknownJob, match="ed_0000"):
            ask()
    assert queue.redeliver(["dl_000000000000000000000000-1-0"]) == {"dl_000000000000000000000000-1-0": "unknown"}


def test_the_image_comes(queue: Any, edit: Edit, module_worker: RunningWorker, tmp_path: Path) -> None:
    """A result has the bytes, hash, size, format and link of the image; `save` writes the bytes to a file."""
    job = queue.enqueue(edit, tags={"order": "17"})
    result = job.result(timeout_s=30)
    assert sha256(result.image).hexdigest() == result.sha256
    assert len(result.image) == result.bytes
    assert result.format in ("PNG", "JPEG")
    assert min(result.size) > 0
    assert result.url.startswith("http")
    assert result.save(tmp_path / "out").read_bytes() == result.image
    events = list(job.events())
    assert [event["type"] for event in events] == ["edit.queued", "edit.running", "edit.succeeded"]
    assert events[-1]["data"]["result"]["sha256"] == result.sha256
    assert events[-1]["data"]["tags"] == {"order": "17"}
    record = job.record()
    assert [charge.certain for charge in record.charges] == [True]
    assert [image.sha256 for image in record.images] == [result.sha256]


def test_a_record_is_what_the_store_has(
    queue: Any, edit: Edit, client: Any, module_worker: RunningWorker, sink: Sink
) -> None:
    """Each client reads the record as the store has it: options, charges and image. Instants differ by at most 2 ms."""
    chosen = {"deadline_s": 900, "max_attempts": 3, "max_charges": 1, "events": ["edit.running"], "priority": "low"}
    job = queue.enqueue(edit, webhook=sink.url, **chosen)
    job.result(timeout_s=30)
    kept, read = JobStore(client, retention_s=60.0).record(job.id), job.record()
    assert kept is not None
    assert _without_instants(read) == _without_instants(kept)
    assert _instants(read) == pytest.approx(_instants(kept), abs=0.002)


def _without_instants(record: JobRecord) -> JobRecord:
    charges = tuple(replace(charge, intent_at=0.0, answered_at=None) for charge in record.charges)
    return replace(record, created_at=0.0, started_at=None, finished_at=None, charges=charges)


def _instants(record: JobRecord) -> list[float | None]:
    asked = [at for charge in record.charges for at in (charge.intent_at, charge.answered_at)]
    return [record.created_at, record.started_at, record.finished_at, *asked]


def test_an_edit_that_fails_says_why(
    queue: Any, edit: Edit, module_worker: RunningWorker, simulator: Simulator
) -> None:
    """The `EditFailed` of a failed job has the job's id, code and message, and the number of possible charges."""
    simulator.faults(next=[{"kind": "processing_failed", "tag": "broken"}])
    job = queue.enqueue(edit.model_copy(update={"prompt": "make it winter [[broken]]"}), max_attempts=1)
    with pytest.raises(EditFailed) as raised:
        job.result(timeout_s=30)
    assert raised.value.job_id == job.id
    assert raised.value.code == job.record().error.code
    assert raised.value.message
    assert raised.value.charges == sum(charge.possible for charge in job.record().charges)
    assert job.state == "failed"


def test_who_waits_is_woken(queue: Any, edit: Edit) -> None:
    """A wait for a job ends as soon as the job is cancelled."""
    queue.pause()
    job = queue.enqueue(edit)
    with pytest.raises(ResultTimeout) as raised:
        job.result(timeout_s=0)
    assert raised.value.state == "queued"
    cancels = threading.Timer(0.3, lambda: queue.cancel(job.id))
    cancels.start()
    with pytest.raises(EditCancelled) as ended:
        job.result(timeout_s=30)
    cancels.join()
    assert ended.value.when == "before_charge"
    assert job.cancel() == "final"
    assert queue.replay(job.id) == "replayed"
    assert (job.replay(), job.approve(), job.unapprove()) == ("open", "no_result", "no_result")


def test_a_result_is_approved(queue: Any, edit: Edit, module_worker: RunningWorker) -> None:
    """The record of an approved job says by whom, until the mark is taken back."""
    (job := queue.enqueue(edit)).result(timeout_s=30)
    assert (job.approve(), queue.approve(job.id), bool(job.record().approved_by)) == ("approved", "unchanged", True)
    assert (job.unapprove(), queue.unapprove(job.id), job.record().approved_at) == ("unapproved", "unchanged", None)


def test_events_are_followed_to_the_end(queue: Any, edit: Edit) -> None:
    """`events` yields past and new events, ends after the final one, and can start after any event."""
    queue.pause()
    job = queue.enqueue(edit)
    events = job.events()
    assert next(events)["type"] == "edit.queued"
    cancels = threading.Timer(0.2, lambda: queue.cancel(job.id))
    cancels.start()
    assert [event["type"] for event in events] == ["edit.cancelled"]
    cancels.join()
    assert [event["data"]["sequence"] for event in job.events(after=0)] == [1]


def test_jobs_are_listed(queue: Any, edit: Edit) -> None:
    """`jobs` lists all jobs, newest first. The list can be narrowed by state, by instant and by number."""
    queue.pause()
    jobs = [queue.enqueue(edit) for _ in range(5)]
    jobs[1].cancel()
    assert [job.id for job in queue.jobs()] == [job.id for job in reversed(jobs)]
    assert [job.id for job in queue.jobs(state="cancelled")] == [jobs[1].id]
    assert [job.id for job in queue.jobs(limit=2)] == [jobs[4].id, jobs[3].id]
    assert list(queue.jobs(since=time.time() + 60)) == []
    assert len(list(queue.jobs(tenant=None))) == 5


def test_the_feed_is_read_by_cursor(queue: Any, edit: Edit) -> None:
    """The feed has the events of all jobs in order; a read from an event's cursor returns the later events."""
    queue.pause()
    jobs = queue.enqueue_many([edit] * 3)
    for job in jobs:
        job.cancel()
    first = queue.events("0", limit=2)
    rest = queue.events(first[-1][0])
    jobs_of_feed = [event["data"]["job_id"] for _, event in first + rest]
    assert jobs_of_feed == [job.id for job in jobs]
    assert {event["type"] for _, event in first + rest} == {"edit.cancelled"}
    assert queue.events(rest[-1][0]) == []


def test_deliveries_are_listed_and_sent_again(
    queue: Any, edit: Edit, sink: Sink, module_worker: RunningWorker, client: Any
) -> None:
    """A job's delivery is listed and redelivered. Without the job's record, `redeliver` returns `gone`."""
    job = queue.enqueue(edit, webhook=f"{sink.url}/hook")
    job.result(timeout_s=30)
    sink.wait_for(1)
    (delivery,) = job.deliveries()
    assert (delivery.job, delivery.type, delivery.tenant) == (job.id, "edit.succeeded", "default")
    assert [one.id for one in queue.deliveries()] == [delivery.id]
    assert queue.deliveries(dead=True) == []
    assert eventually(lambda: queue.redeliver([delivery.id])[delivery.id] != "open")
    sink.wait_for(2)
    assert eventually(lambda: job.deliveries()[0].state == "delivered")
    client.delete(f"rt:edits:spec:{job.id}")
    assert queue.redeliver([delivery.id]) == {delivery.id: "gone"}


def test_a_webhooks_secret_is_read(queue: Any, edit: Edit, sink: Sink, module_worker: RunningWorker) -> None:
    """`queue.receiver` returns the secret that verifies webhooks. A job without `webhook` sends nothing to the URL."""
    receiver = queue.receiver(f"{sink.url}/hook")
    assert queue.receiver(f"{sink.url}/hook").secret == receiver.secret
    assert receiver.every_job is False
    queue.enqueue(edit).result(timeout_s=30)
    job = queue.enqueue(edit.model_copy(update={"prompt": "make it summer"}), webhook=f"{sink.url}/hook")
    job.result(timeout_s=30)
    (request,) = sink.wait_for(1)
    assert verify_webhook(request.body, request.headers, receiver.secret)["data"]["job_id"] == job.id


def test_a_lane_is_paused_and_its_status_read(queue: Any, edit: Edit) -> None:
    """
    The status of a paused lane shows the pause and the waiting jobs. After `resume`, the lane is no longer paused.
    """
    queue.pause()
    jobs = queue.enqueue_many([edit] * 3)
    numbers = queue.status()
    assert (numbers.paused, numbers.waiting, numbers.held) == (True, 3, 0)
    assert numbers.waiting_by_group == {"default": 3}
    for job in jobs:
        job.cancel()
    queue.resume()
    assert queue.status().paused is False
    assert queue.status("deliveries").waiting == 0


@pytest.mark.parametrize("address", ["redis://127.0.0.1:1/0", "http://127.0.0.1:1"])
@pytest.mark.parametrize("kind", ["plain", "asyncio"])
def test_nobody_there(address: str, kind: str) -> None:
    """If nothing answers at the address, every call raises a `StoreUnavailable` that says how to repeat the call."""
    edit = Edit(prompt="make it winter", init_image="https://example.com/in.png")
    with EditQueue(address) if kind == "plain" else driven(address) as queue:
        for ask in (lambda: queue.enqueue(edit), queue.status, queue.events, lambda: list(queue.jobs())):
            with pytest.raises(StoreUnavailable, match=r"safe|idempotency"):
                ask()
