"""The examples run unchanged, against a real Valkey, a real worker and the simulator."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from retouch import Edit, EditQueue
from retouch_ops.simulator.process import Simulator
from tests.free_ports import free_port
from tests.process_watch import Spoken

EXAMPLES = Path(__file__).parents[2] / "examples"
Start = Callable[..., Spoken]


@pytest.fixture
def start(queue: EditQueue, tmp_path: Path) -> Start:
    """A function that starts an example in an empty folder, with the settings of the tests' queue."""
    own = {name: value for name, value in os.environ.items() if name.startswith("RETOUCH_")}

    def run(*command: str, **environment: str) -> Spoken:
        # Lines are read as they are printed, as at a terminal.
        python = {"PYTHONPATH": str(EXAMPLES.parent), "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
        return Spoken([sys.executable, *command], folder=tmp_path, environment={**own, **python, **environment})

    return run


def lines_of(running: Spoken, within_s: float = 60.0) -> list[str]:
    """Wait for an example, which must succeed, and return the lines that it printed."""
    with running:
        code = running.process.wait(within_s)
        running._reader.join(5)
    assert code == 0, running.lines
    return running.lines


def test_enqueue_one(start: Start, simulator: Simulator, module_worker: Any, tmp_path: Path) -> None:
    """The example enqueues one edit, saves the image, and prints where."""
    said = lines_of(start(str(EXAMPLES / "enqueue_one.py"), simulator.portrait_url, "make it winter"))
    assert re.fullmatch(r"enqueued ed_[0-9a-f]{24}", said[0])
    assert re.fullmatch(r"saved edited\.png, 512 x 512, at http://127\.0\.0\.1:8000/files/\S+\.png\S*", said[1])
    assert (tmp_path / "edited.png").read_bytes().startswith(b"\x89PNG")


def test_django_enqueues_on_commit(start: Start, simulator: Simulator, queue: EditQueue) -> None:
    """An order that is committed is enqueued once, and an order that is rolled back is not."""
    said = lines_of(start(str(EXAMPLES / "django_on_commit.py"), simulator.portrait_url))
    assert re.fullmatch(r"ed_[0-9a-f]{24}", said[0])
    assert said[1:] == ["order 18 is out of stock: nothing was enqueued"]
    assert [job.id for job in queue.jobs()] == said[:1]


def test_enqueue_one_that_fails(start: Start, simulator: Simulator, module_worker: Any) -> None:
    """If the endpoint refuses the edit, the example prints the code of the refusal and that nothing was charged."""
    simulator.faults(next=[{"kind": "no_credits"}])
    with start(str(EXAMPLES / "enqueue_one.py"), simulator.portrait_url, "make it winter") as running:
        line = running.wait_for("failed: ")
        assert running.process.wait(30) == 1
    assert line.startswith("failed: no_credits: Insufficient credits")
    assert line.endswith("possible charges: 0")


def test_enqueue_many_twice(start: Start, simulator: Simulator, module_worker: Any) -> None:
    """The example enqueues three edits; run again, it finds the same jobs and pays for nothing."""
    command = (str(EXAMPLES / "enqueue_many.py"), "order-17", simulator.portrait_url, "winter", "sepia", "a sketch")
    first = lines_of(start(*command))
    charged = simulator.books(totals=True)["charged"]
    second = lines_of(start(*command))
    assert first[0] == "3 jobs, 0 of them known from an earlier run"
    assert second[0] == "3 jobs, 3 of them known from an earlier run"
    assert first[1:] == second[1:]
    assert [line.partition(":")[0] for line in first[1:]] == ["winter", "sepia", "a sketch"]
    assert (charged, simulator.books(totals=True)["charged"]) == (3, 3)


def test_enqueue_many_reports_every_job(start: Start, simulator: Simulator, queue: EditQueue) -> None:
    """A job that is cancelled is reported like a failed one, and the example ends with 1 after it has reported all."""
    queue.pause()
    with start(str(EXAMPLES / "enqueue_many.py"), "order-18", simulator.portrait_url, "winter", "sepia") as running:
        running.wait_for("2 jobs, 0 of them known")
        for job in queue.jobs(tenant="shop"):
            job.cancel()
        code = running.process.wait(60)
        running._reader.join(5)
    assert code == 1
    assert [line.partition(": ")[0] for line in running.lines[1:]] == ["winter", "sepia"]
    assert all(line.endswith("was cancelled before charge") for line in running.lines[1:])


def test_webhook_receiver(start: Start, queue: EditQueue, simulator: Simulator, module_worker: Any) -> None:
    """The example verifies a real webhook and prints its event. A POST without a signature is answered 400."""
    # The secret is made with the receiver, so the address has to be known before: any port that is free now.
    port = free_port()
    url = f"http://127.0.0.1:{port}/retouch"
    secret = queue.receiver(url).secret
    with start(str(EXAMPLES / "webhook_receiver.py"), WEBHOOK_SECRET=secret, PORT=str(port)) as running:
        running.wait_for("receiving on")
        job = queue.enqueue(Edit(prompt="winter", init_image=simulator.portrait_url), webhook=url, tags={"order": "17"})
        line = running.wait_for("edit.succeeded")
        assert line == f"edit.succeeded: {job.id}, tags {{'order': '17'}}"
        forged = requests.post(url, data=b"{}", headers={"webhook-id": "evt_1"}, timeout=5)
        assert forged.status_code == 400
        running.wait_for("refused: the webhook headers are missing or malformed")


def test_celery_callback(start: Start, simulator: Simulator, module_worker: Any, client: Any) -> None:
    """A task of the backend's own app gets the event of a job that named the task."""
    module = "examples.celery_callback"
    pool = ("--queues", "billing", "--pool", "solo", "--without-mingle", "--without-gossip")
    with start("-m", "celery", "--app", module, "worker", *pool) as worker:
        said = lines_of(start("-m", module, simulator.portrait_url, "make it winter"))
        job = said[0].removeprefix("enqueued ")
        assert f"edit.succeeded: {job}, charges 1" in worker.wait_for("edit.succeeded")
    client.delete("_kombu.binding.billing")
