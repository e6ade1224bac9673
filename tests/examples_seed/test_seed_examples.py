"""The endpoint's own example in Python, and edits that are answered `processing`, against the gateway."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retouch_ops.simulator.process import Simulator
from tests.examples_seed.example_runner import example, reply, run
from tests.gateway_process import Api, Callers, running_gateway
from tests.process_watch import eventually

Check = Callable[[dict[str, Any]], None]


def test_python(api: Api, assert_edited: Check, tmp_path: Path) -> None:
    """The Python example prints a success with an edited image."""
    (tmp_path / "example.py").write_text(example("requests", api.url, api.secret))
    assert_edited(reply(run([sys.executable, "example.py"], tmp_path)))


def test_a_long_edit_is_fetched_later(
    worker_environment: dict[str, str], module_worker: Any, client: Any, simulator: Simulator, assert_edited: Check
) -> None:
    """
    An edit that takes longer than the wait is answered `processing`. Later, the tenant's key can fetch the image. A key
    of another tenant cannot.
    """
    simulator.settings(latency_s=1.0)
    with running_gateway({**worker_environment, "RETOUCH_DROP_IN_WAIT_S": "0.1"}) as (url, _):
        callers = Callers(url, client)
        api = callers()
        body = {"key": api.secret, "prompt": "a", "init_image": simulator.portrait_url, "steps": "20"}
        answer = api.post("/api/v5/pix2pix", body).json()
        assert (answer["status"], answer["output"]) == ("processing", "")
        assert answer["eta"] > 0
        path = "/" + answer["fetch_result"].split("/", 3)[3]
        assert path == f"/api/v3/fetch/{answer['id']}"
        assert eventually(lambda: api.post(path, {"key": api.secret}).json()["status"] == "success")
        assert_edited(api.post(path, {"key": api.secret}).json())
        assert api.post(path, {"key": callers("globex").secret}).json()["message"] == "Request not found"
        callers.close()


def test_errors_come_in_the_endpoints_shape(api: Api, client: Any, simulator: Simulator) -> None:
    """Every error is answered 200 with status `error` and the endpoint's message, and nothing is enqueued."""
    good = {"key": api.secret, "prompt": "a", "init_image": simulator.portrait_url}
    wrongs: list[tuple[Any, str]] = [
        ({**good, "key": ""}, "Invalid Api Key"),
        ({**good, "key": 7}, "Invalid Api Key"),
        ({**good, "init_image": simulator.url + "/gone.png"}, "Unable to fetch image from provided URL"),
        ([], "Invalid API Request"),
    ]
    for body, words in wrongs:
        answer = api.post("/api/v5/pix2pix", body)
        assert (answer.status_code, answer.json()["status"]) == (200, "error")
        assert answer.json()["message"] == words
    refusal = api.post("/api/v5/pix2pix", {**good, "prompt": "", "guidance_scale": 70}).json()
    assert set(refusal["message"]) == {"prompt", "guidance_scale"}
    assert api.post("/api/v3/fetch/ed_none", {"key": api.secret}).json()["message"] == "Request not found"
    assert api.post("/api/v3/fetch/ed_none", {}).json()["message"] == "Invalid Api Key"
    assert api.get("/v1/edits").json()["data"] == []


def test_what_failed_says_so(api: Api, simulator: Simulator) -> None:
    """A job that the endpoint refused is answered with the status failed and a message."""
    simulator.faults(next=[{"kind": "no_credits", "times": 1}])
    answer = api.post(
        "/api/v5/pix2pix", {"key": api.secret, "prompt": "a", "init_image": simulator.portrait_url}
    ).json()
    assert (answer["status"], answer["output"]) == ("failed", "")
    assert answer["message"]
