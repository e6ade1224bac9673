"""`docs/http.md` and a running gateway: every example works, every route has an example, every problem is listed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retouch_ops.simulator.process import Simulator
from retouch_producer.gateway.http.errors import KINDS
from tests.conftest import Sink
from tests.docs.pages import DOCS, ROOT, blocks, table
from tests.gateway_process import Callers, path_of, running_gateway
from tests.store_accounts import account, open_accounts

PAGE = DOCS / "http.md"
COMMANDS = [
    line[2:] for block in blocks(PAGE, "console") for line in block.code.splitlines() if line.startswith("$ curl")
]
IDS = {"ed_": "JOB", "bk_": "BULK", "rc_": "RECEIVER", "dl_": "DELIVERY"}


@pytest.fixture(scope="module")
def gateway_url(worker_environment: dict[str, str], module_worker: Any) -> Iterator[str]:
    with running_gateway(worker_environment) as (url, _):
        yield url


def test_every_example_works(gateway_url: str, client: Any, simulator: Simulator, sink: Sink, tmp_path: Path) -> None:
    """All examples of the page succeed if they run in order, with the ids from earlier answers."""
    callers = Callers(gateway_url, client)
    api = callers()
    (tmp_path / "photo.jpg").write_bytes((ROOT / "ops/retouch_ops/samples/portrait.jpg").read_bytes())
    api.post("/v1/receivers", {"url": sink.url + "/first"})
    known = {
        "GATEWAY": gateway_url,
        "KEY": api.secret,
        "OPS_KEY": callers("staff", "ops").secret,
        "HOOK": sink.url,
        "PHOTO": simulator.portrait_url,
        "WAITING": waiting_job(api, simulator),
        "ACCOUNT": "main",
    }
    for command in COMMANDS:
        if "/v1/accounts" in command:  # the last examples: no worker here serves these accounts
            open_accounts(client, account("main"), account("spare"))
        answer = run(command, known, tmp_path)
        known |= ids_in(answer)
        if "wait=30" in command:
            known |= {"NAME": path_of(json.loads(answer)["result"]["url"]).partition("?")[0].removeprefix("/files/")}
            sink.wait_for(1)
    assert (tmp_path / "edited.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "small.webp").read_bytes()[8:12] == b"WEBP"
    assert (tmp_path / "before.jpg").read_bytes().startswith(b"\xff\xd8")
    callers.close()


def waiting_job(api: Any, simulator: Simulator) -> str:
    """Enqueue and cancel a job, and return its id. The examples cancel the job once more, and replay it."""
    job: str = api.post("/v1/edits", {"prompt": "wait", "init_image": simulator.portrait_url}).json()["id"]
    api.post(f"/v1/edits/{job}/cancel")
    return job


def run(command: str, known: dict[str, str], folder: Path) -> str:
    """Run one example unchanged and return its output. Raises `AssertionError` unless the answer is a success."""
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    words = command.replace("curl ", "curl --silent --show-error --fail-with-body --max-time 40 ", 1)
    done = subprocess.run(
        ["bash", "-c", words], cwd=folder, env=plain | known, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert '"status":"error"' not in done.stdout, f"{command}\n{done.stdout}"
    return done.stdout


def ids_in(answer: str) -> dict[str, str]:
    """
    Return {variable: id} for the id in an answer, or {} if the answer has no id. Later examples use the variable.

    If the answer is a list, the id is that of the first item.
    """
    try:
        value = json.loads(answer)
    except ValueError:
        return {}
    found = value.get("data") or [value]
    identity = str(found[0].get("id", "")) if isinstance(found, list) else ""
    return {IDS[identity[:3]]: identity} if identity[:3] in IDS else {}


def test_every_route_has_an_example(gateway_url: str) -> None:
    """Every operation of the OpenAPI description has a curl command on the page."""
    description = subprocess.run(
        ["curl", "--silent", "--noproxy", "*", f"{gateway_url}/openapi.json"],
        capture_output=True,
        text=True,
        check=True,
    )
    operations = {
        (method.upper(), path) for path, item in json.loads(description.stdout)["paths"].items() for method in item
    }
    assert {one for one in operations if not any(is_example_of(command, *one) for command in COMMANDS)} == set()


def is_example_of(command: str, method: str, path: str) -> bool:
    posts = re.search(r"--json|--form|--data-binary|--request POST", command)
    given = "DELETE" if "--request DELETE" in command else "POST" if posts else "GET"
    pattern = re.escape("$GATEWAY") + re.sub(r"\\{[^}]*\\}", r"[^/? ]+", re.escape(path)) + r"[\"? ]"
    return given == method and re.search(pattern, command + " ") is not None


def test_every_problem_is_listed() -> None:
    """The table on the page has exactly the problems that the gateway can return."""
    listed = {row["problem"]: (row["status"], row["retryable"]) for row in table(PAGE, "problem")}
    assert listed == {name: (str(kind.status), "yes" if kind.retryable else "no") for name, kind in KINDS.items()}
