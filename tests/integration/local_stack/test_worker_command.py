"""`retouch worker` with real Celery processes: killed processes are replaced, all stop in time, and no key is shown."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from retouch.settings import Settings
from retouch_ops.worker_command import GRACE_BEYOND_CALL_S, WrongLanes, parse_lanes, worker_programs
from tests.free_ports import own_valkey
from tests.process_watch import Spoken, alive, eventually, retouch, run_retouch

KEY = "planted-endpoint-key"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    blobs = tmp_path_factory.mktemp("blobs").as_uri()
    with own_valkey(config={"appendonly": "yes"}) as server:
        yield {
            "RETOUCH_REDIS_URL": f"{server.connection_url}/0",
            "RETOUCH_STORE_URL": blobs,
            "RETOUCH_PIX2PIX_KEY": KEY,
            "RETOUCH_LOG_FORMAT": "json",
        }


@pytest.fixture
def workers(environment: dict[str, str], tmp_path: Path) -> Iterator[Spoken]:
    arguments = ("--lanes", "edits", "--concurrency", "2", "--processes", "2", "--name", "w")
    with run_retouch("worker", *arguments, folder=tmp_path, environment=environment) as running:
        assert eventually(lambda: sum("ready" in line for line in running.lines) == 2, 60), running.lines
        yield running


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def test_a_killed_worker_is_replaced(workers: Spoken, environment: dict[str, str]) -> None:
    """
    When a worker process is killed, a new process gets its name. `retouch doctor` then lists both workers of the lane.
    """
    before = children(workers.process.pid)
    os.kill(before[0], signal.SIGKILL)
    entry = json.loads(workers.wait_for("died"))
    assert "killed by SIGKILL" in entry["event"]
    assert "started again" in entry["event"]
    assert eventually(lambda: len(set(children(workers.process.pid)) - set(before)) == 1)
    assert eventually(lambda: sum("ready" in line for line in workers.lines) == 3)
    seen = retouch("doctor", "--only", "workers", environment=environment)
    assert "nobody serves lane deliveries" in seen.stdout
    assert re.search(r"lane edits is served by w-1@\S+, w-2@", seen.stdout)


def test_each_process_announces_itself(workers: Spoken, environment: dict[str, str]) -> None:
    """`retouch status` lists each process with its lanes and version, also without threads for deliveries."""
    pids = children(workers.process.pid)
    assert eventually(
        lambda: {worker["name"].rpartition(":")[2] for worker in running(environment)} >= set(map(str, pids))
    )
    for worker in running(environment):
        assert (worker["version"], worker["lanes"], worker["threads"]) == (version("retouch"), ["edits"], 0)


def running(environment: dict[str, str]) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(retouch("status", "--json", environment=environment).stdout)["workers"]
    return listed


def test_one_signal_stops_all(workers: Spoken) -> None:
    """SIGTERM to the parent drains and ends every process. The parent exits with 0."""
    pids = children(workers.process.pid)
    assert workers.end(signal.SIGTERM) == 0
    assert len(pids) == 2
    assert not any(alive(pid) for pid in pids)


def test_a_killed_parent_leaves_no_worker(workers: Spoken) -> None:
    """kill -9 of the parent also ends its workers."""
    pids = children(workers.process.pid)
    workers.end(signal.SIGKILL)
    assert len(pids) == 2
    assert eventually(lambda: not any(alive(pid) for pid in pids))


def test_every_line_is_json_and_the_key_in_none(workers: Spoken) -> None:
    """With RETOUCH_LOG_FORMAT=json every line of parent and children is JSON, and no line contains the key."""
    workers.end(signal.SIGTERM)
    spoken = [line for line in workers.lines if line and not line.startswith("worker: ")]
    assert {type(json.loads(line)) for line in spoken} == {dict}
    assert KEY not in "\n".join(workers.lines)


def test_a_worker_waits_for_redis_and_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    """
    A worker that cannot reach Redis logs `store_away` at once. SIGTERM still ends this worker in time, with exit code
    0.
    """
    nowhere = {**environment, "RETOUCH_REDIS_URL": "redis://127.0.0.1:1/0"}
    with run_retouch("worker", "--lanes", "edits", folder=tmp_path, environment=nowhere) as running:
        entry = json.loads(running.wait_for("store_away"))
        assert (entry["error"], entry["leases"]) == ("ConnectionError", 0)
        assert running.end(signal.SIGTERM) == 0
    assert not any("Traceback" in line for line in running.lines)


def test_the_key_is_on_no_command_line(environment: dict[str, str]) -> None:
    """The command lines of the workers do not contain the endpoint key."""
    settings = Settings.load(pix2pix_key=KEY)
    programs = worker_programs(settings, ["edits"], name="w", concurrency=2, processes=2, environment=environment)
    assert [program.name for program in programs] == ["w-1", "w-2"]
    assert KEY not in " ".join(word for program in programs for word in program.command)


def test_the_grace_covers_a_call_in_flight() -> None:
    """The grace period of a worker is `pix2pix_timeout_s` plus the time for storing the result."""
    settings = Settings.load(pix2pix_timeout_s=42)
    (program,) = worker_programs(settings, ["edits"], name="w", concurrency=1, processes=1)
    assert program.grace_s == 42 + GRACE_BEYOND_CALL_S


def test_lanes_are_read_from_text() -> None:
    """`parse_lanes` returns lanes in a fixed order. For an unknown lane, the error has the names of all lanes."""
    assert parse_lanes(" deliveries, edits") == ("edits", "deliveries")
    for wrong in ("", ",", "edits,nothing"):
        with pytest.raises(WrongLanes, match="expected some of edits, deliveries"):
            parse_lanes(wrong)


def test_a_hang_up_goes_on_to_the_workers(environment: dict[str, str], tmp_path: Path) -> None:
    """When the parent gets SIGHUP, each worker process reads the accounts file again, and no process ends."""
    (tmp_path / "main.key").write_text(KEY)
    (tmp_path / "accounts.toml").write_text('[accounts.main]\nkey_file = "main.key"\n')
    arguments = ("--lanes", "edits", "--concurrency", "2", "--processes", "2", "--name", "h")
    own = {**environment, "RETOUCH_ACCOUNTS": "accounts.toml"}
    with run_retouch("worker", *arguments, folder=tmp_path, environment=own) as running:
        assert eventually(lambda: sum("ready" in line for line in running.lines) == 2, 60), running.lines
        pids = children(running.process.pid)
        running.process.send_signal(signal.SIGHUP)
        assert eventually(lambda: sum("accounts_reloaded" in line for line in running.lines) == 2), running.lines
        assert children(running.process.pid) == pids
        assert running.end(signal.SIGTERM) == 0
    assert KEY not in "\n".join(running.lines)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[accounts.main]\nkey_file = "main.key"\n', "accounts.main: no key, "),
        ("[accounts.main]\nlimit = 0\n", "accounts.main.limit: expected"),
    ],
)
def test_accounts_that_cannot_be_used_start_nothing(
    environment: dict[str, str], tmp_path: Path, content: str, words: str
) -> None:
    """When the accounts file is invalid, or no key can be read, the command prints the error and exits with 2."""
    (tmp_path / "accounts.toml").write_text(content)
    answer = retouch(
        "worker", "--lanes", "edits", folder=tmp_path, environment={**environment, "RETOUCH_ACCOUNTS": "accounts.toml"}
    )
    assert answer.returncode == 2
    assert words in answer.stderr
    assert "Traceback" not in answer.stderr
