"""
Tests of `retouch up` as a user runs it: ready line, one stack for each folder, use by other commands, and shutdown.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from retouch_ops.simulator.process import Simulator
from tests.conftest import ENDPOINT_KEY
from tests.process_watch import Spoken, alive, eventually, own_environment, retouch, run_retouch


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "var/state/stack.json").read_text())
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Spoken]:
    with run_retouch("up", folder=folder) as running:
        running.wait_for("retouch | ready in")
        yield running
        assert running.end(signal.SIGINT) == 0


def test_the_ready_line_names_every_address(stack: Spoken, folder: Path) -> None:
    """The ready line has the addresses of gateway, Flower, simulator and Redis, and each of them answers."""
    ready, known = stack.wait_for("retouch | ready in"), record(folder)
    for name in ("gateway_url", "flower_url", "simulator_url", "redis_url"):
        assert known[name] in ready
    assert json.loads(fetched(known["gateway_url"] + "/readyz")) == {"status": "ok"}
    assert "flower" in fetched(known["flower_url"]).lower()
    assert "simulator" in fetched(known["simulator_url"]).lower()


def test_the_api_key_is_kept_and_works(stack: Spoken, folder: Path) -> None:
    """
    The ready line shows the API key of the state folder, and the gateway accepts this key. Only the owner of the key
    file can read the file.
    """
    kept = folder / "var/state/api_key"
    key = kept.read_text().strip()
    assert f"API key {key} " in stack.wait_for("retouch | ready in")
    assert kept.stat().st_mode & 0o777 == 0o600
    asked = urllib.request.Request(record(folder)["gateway_url"] + "/v1/status")
    asked.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(asked, timeout=10) as answer:
        assert json.loads(answer.read())["edits"]["paused"] is False
    assert key not in (folder / "var/state/stack.json").read_text()


def test_the_console_link_signs_in_once(stack: Spoken, folder: Path) -> None:
    """The line after the ready line has a link that signs in. A second sign-in with this link is answered 403."""
    gateway = record(folder)["gateway_url"]
    address = stack.wait_for("retouch | console http").split()[3]
    assert address.startswith(f"{gateway}/console/enter/")
    with httpx.Client(headers={"Sec-Fetch-Site": "same-origin"}, follow_redirects=True, trust_env=False) as browser:
        assert "Sign in" in browser.get(address).text
        form = {"link": address.rpartition("/")[2]}
        assert "Overview" in browser.post(f"{gateway}/console/enter", data=form).text
        assert browser.post(f"{gateway}/console/enter", data=form).status_code == 403


def test_redis_is_durable(stack: Spoken, folder: Path) -> None:
    """The embedded server appends every write to disk and evicts nothing."""
    with redis.Redis.from_url(record(folder)["redis_url"], decode_responses=True) as client:
        assert client.config_get("appendonly", "maxmemory-policy", "appendfsync") == {
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            "appendfsync": "everysec",
        }
    assert alive(stack.process.pid)


def test_it_says_what_it_allows(stack: Spoken) -> None:
    """The log shows that this stack allows loopback addresses for its jobs."""
    assert "127.0.0.0/8,::1/128" in stack.wait_for("RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS")


def test_other_commands_find_it(stack: Spoken, folder: Path) -> None:
    """In the same folder and without settings, `retouch doctor` checks this stack and finds nothing bad."""
    ended = retouch("doctor", "--json", folder=folder)
    findings = json.loads(ended.stdout)
    assert [finding for finding in findings if finding["level"] == "bad"] == []
    assert ended.returncode == 0
    assert any("lane deliveries is served by" in finding["what"] for finding in findings)
    rows = json.loads(retouch("settings", "--json", folder=folder).stdout)
    found = {row["name"]: row for row in rows}["RETOUCH_REDIS_URL"]
    assert (found["value"], found["origin"]) == (record(folder)["redis_url"], "running stack")
    assert alive(stack.process.pid)


def test_own_programs_find_it(stack: Spoken, folder: Path) -> None:
    """
    With the settings that `retouch settings --export` prints, a program enqueues in this stack. In a folder without a
    running stack, the command exits with 2.
    """
    program = (
        "from retouch import Edit, EditQueue; import os;"
        "print(EditQueue().enqueue(Edit(prompt='x', init_image=os.environ['PHOTO'])).state)"
    )
    photo = f"{record(folder)['simulator_url']}/samples/portrait.jpg"
    lines = retouch("settings", "--export", folder=folder).stdout
    typed = ["sh", "-c", f"{lines} exec {shlex.quote(sys.executable)} -c {shlex.quote(program)}"]
    ended = subprocess.run(typed, env=own_environment(PHOTO=photo), capture_output=True, text=True, check=True)
    assert ended.stdout.strip() in ("queued", "running", "succeeded"), ended.stderr
    elsewhere = retouch("settings", "--export", folder=folder / "var")
    assert (elsewhere.returncode, elsewhere.stdout) == (2, "")
    assert elsewhere.stderr.startswith("retouch: no stack of `retouch up` runs in this folder")
    assert "settings --export" in stack.wait_for("programs of yours")


def test_a_second_one_refuses(stack: Spoken, folder: Path) -> None:
    """
    In the same folder, a second `retouch up` prints the process and address of the running stack, and exits with 2. The
    running stack does not change.
    """
    before = record(folder)
    second = retouch("up", "--fresh", folder=folder)
    assert second.returncode == 2
    assert f"process {stack.process.pid}" in second.stderr
    assert before["gateway_url"] in second.stderr
    assert record(folder) == before


def test_a_dead_part_is_started_again(stack: Spoken, folder: Path) -> None:
    """If the gateway is killed, it is restarted on the same port."""
    known = record(folder)
    os.kill(known["pids"]["gateway"], signal.SIGKILL)
    assert "killed by SIGKILL" in stack.wait_for("gateway died")

    def answers() -> bool:
        try:
            return "ok" in fetched(known["gateway_url"] + "/healthz")
        except OSError:
            return False

    assert eventually(answers)


def test_a_state_folder_that_cannot_be(tmp_path: Path) -> None:
    """If --state is a file, or a folder that cannot be written, the command prints one line and exits 2."""
    (tmp_path / "file").write_text("mine")
    for state, why in (("file", "Not a directory"), ("/proc/nowhere", "No such file or directory")):
        ended = retouch("up", "--state", state, folder=tmp_path)
        assert ended.returncode == 2
        assert ended.stderr.startswith("retouch: --state: ")
        assert ended.stderr.endswith(f" cannot be used: {why}\n")
    assert (tmp_path / "file").read_text() == "mine"


def test_no_orphan_after_a_kill(tmp_path: Path) -> None:
    """
    When the parent is killed with kill -9, every part ends. The data is kept, and the next start uses the same ports.
    """
    with run_retouch("up", folder=tmp_path) as first:
        first.wait_for("retouch | ready in")
        known = record(tmp_path)
        with redis.Redis.from_url(known["redis_url"]) as client:
            client.set("kept", "yes")
        first.end(signal.SIGKILL)
        assert eventually(lambda: not any(alive(pid) for pid in known["pids"].values()))
    with run_retouch("up", folder=tmp_path) as second:
        second.wait_for("retouch | ready in")
        assert record(tmp_path)["gateway_url"] == known["gateway_url"]
        with redis.Redis.from_url(record(tmp_path)["redis_url"]) as client:
            assert client.get("kept") == b"yes"
        pids = record(tmp_path)["pids"].values()
        assert second.end(signal.SIGTERM) == 0
    assert not any(alive(pid) for pid in pids)
    assert not (tmp_path / "var/state/stack.json").exists()
    assert second.lines[-1] == "retouch | all stopped"


def test_no_secret_is_on_record(tmp_path: Path, simulator: Simulator) -> None:
    """
    The worker calls the endpoint with the key of the settings. No file of the state folder and no line of the output
    contains this key.
    """
    simulator.settings(keys=[ENDPOINT_KEY])
    endpoint = {"RETOUCH_PIX2PIX_URL": simulator.pix2pix_url, "RETOUCH_PIX2PIX_FETCH_URL": simulator.fetch_url}
    with run_retouch("up", folder=tmp_path, environment=endpoint | {"RETOUCH_PIX2PIX_KEY": ENDPOINT_KEY}) as stack:
        stack.wait_for("retouch | ready in")
        edited = retouch(
            "edit", simulator.portrait_url, "make it winter [[keyed]]", "--out", "out.png", folder=tmp_path
        )
        assert edited.returncode == 0, edited.stderr
        assert stack.end(signal.SIGINT) == 0
    assert simulator.books()["by_tag"]["keyed"]["posts"] == 1
    kept = [path for path in (tmp_path / "var").rglob("*") if path.is_file()]
    assert "api_key" in {path.name for path in kept}
    assert [path for path in kept if ENDPOINT_KEY.encode() in path.read_bytes()] == []
    assert ENDPOINT_KEY not in "\n".join(stack.lines)


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder with other files is refused as the state folder, and its files stay."""
    (tmp_path / "thesis.txt").write_text("years of work")
    refused = retouch("up", "--fresh", "--state", str(tmp_path))
    assert refused.returncode == 2
    assert "not a state folder of Retouch" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """A port that is in use is a usage error, and nothing is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = retouch("up", "--port", port, folder=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.strip() == (
        f"retouch: --port: {port} is in use on 127.0.0.1; name another, or none to get a free one"
    )
