"""`retouch edit`, `batch`, `jobs` and others over a gateway, without access to Redis or to a blob store."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from retouch.store import keys
from retouch.store.audit import Actor, AuditLog
from retouch.store.lanes import Lanes
from retouch.store.tenants import TenantStore
from retouch.store.worker_presence import announcement
from retouch_ops.demo import PHOTO
from retouch_ops.simulator.process import Simulator
from retouch_producer.cli.context import open_context
from retouch_producer.cli.jobs.watch import events_of_all
from tests.command_line import typed
from tests.conftest import RunningWorker, Sink
from tests.gateway_process import LINK_KEY, running_gateway


@pytest.fixture(scope="module")
def gateway_url(worker_environment: dict[str, str]) -> Iterator[str]:
    with running_gateway({**worker_environment, "RETOUCH_CAPTURE_INPUT": "off"}) as (url, _):
        yield url


@pytest.fixture
def key(gateway_url: str, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """
    Return the secret of an API key of tenant acme.

    The environment has only this key, the gateway's address, and a Redis address at which no server runs.
    """
    client.set("rt:link_key", LINK_KEY)
    _, secret = TenantStore(client).create_key("acme", "producer", "test")
    monkeypatch.setenv("RETOUCH_GATEWAY_URL", gateway_url)
    monkeypatch.setenv("RETOUCH_API_KEY", secret)
    monkeypatch.setenv("RETOUCH_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.chdir(tmp_path)
    return secret


def test_an_edit_is_saved(key: str, simulator: Simulator, module_worker: RunningWorker, tmp_path: Path) -> None:
    """
    Over a gateway, the image of an edit is saved. The job belongs to the key's tenant, and can be listed and shown.
    """
    ended = typed("edit", simulator.portrait_url, "make it winter", "--out", "out.png", "--json")
    assert ended.code == 0, ended.err
    job = ended.json["id"]
    assert (tmp_path / "out.png").stat().st_size == ended.json["result"]["bytes"]
    listed = typed("jobs", "--json").json
    assert [(one["id"], one["tenant"], one["state"]) for one in listed] == [(job, "acme", "succeeded")]
    shown = typed("job", job, "--json").json
    assert [event["type"] for event in shown["timeline"]] == ["edit.queued", "edit.running", "edit.succeeded"]
    assert shown["worker"] == f"{socket.gethostname()}:{module_worker.process.pid}"
    assert f"worker    {shown['worker']}\n" in typed("job", job).out
    assert json.loads(shown["raw_answer"]["text"])["status"] == "success"
    assert shown["result"]["url"].endswith(f"/v1/edits/{job}/image")
    assert shown["result"]["thumbnail_url"].endswith(f"/v1/edits/{job}/thumbnail")


def test_a_local_file_is_uploaded(key: str, tmp_path: Path, client: Any) -> None:
    """A local picture is uploaded to the gateway, and the job has the gateway's link to it."""
    Lanes(client).pause()
    shutil.copy(PHOTO, tmp_path / "photo.jpg")
    ended = typed("edit", "photo.jpg", "make it winter", "--no-wait", "--json")
    assert ended.code == 0, ended.err
    assert "/files/" in ended.json["edit"]["init_image"]
    assert typed("cancel", ended.json["id"]).code == 0
    assert typed("jobs", "--state", "cancelled", "--json").json[0]["id"] == ended.json["id"]


def test_a_list_is_one_call_a_page(
    key: str, gateway_url: str, simulator: Simulator, module_worker: RunningWorker, tmp_path: Path, client: Any
) -> None:
    """`retouch jobs` lists 20 jobs with one request. A second run of a batch with 20 rows needs two requests."""
    rows = [{"prompt": f"number {at}", "init_image": simulator.portrait_url} for at in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    typed("batch", "rows.jsonl")
    _, ops = TenantStore(client).create_key("acme", "ops")
    before = answers_of(gateway_url, ops)
    assert len(typed("jobs", "--json").json) == 20
    assert answers_of(gateway_url, ops) - before == 1
    assert typed("batch", "rows.jsonl", "--json").json["possible_charges"] == 20
    # One more for where the feed ends, one for all twenty jobs.
    assert answers_of(gateway_url, ops) - before == 3


def answers_of(gateway_url: str, ops: str) -> float:
    """Return how many calls of `/v1` the gateway has answered. `ops` is the secret of a key of role ops."""
    text = httpx.get(f"{gateway_url}/metrics", headers={"Authorization": f"Bearer {ops}"}, trust_env=False).text
    lines = [line for line in text.splitlines() if line.startswith('retouch_http_answers_total{route="/v1')]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def test_what_a_replay_costs(key: str, client: Any, simulator: Simulator) -> None:
    """Over a gateway, `replay --dry-run` shows whether a job is POSTed again or resumes from its paid answer."""
    Lanes(client).pause()
    job = typed("edit", simulator.portrait_url, "make it winter", "--no-wait", "--json").json["id"]
    typed("cancel", job)
    assert "POSTs again" in typed("replay", job, "--dry-run").out
    client.hset(keys.state("edits", job), "checkpoint", '{"kind":"ready","urls":["https://example.com/x.png"]}')
    assert "no new charge" in typed("replay", job, "--dry-run").out


def test_a_job_is_watched_and_shown(key: str, simulator: Simulator, module_worker: RunningWorker, sink: Sink) -> None:
    """
    Over a gateway, `watch` follows a job to its end. Other commands show the job's delivery, its usage and the lane.
    """
    job = typed("edit", simulator.portrait_url, "make it winter", "--webhook", sink.url, "--no-wait", "--json").json[
        "id"
    ]
    watched = typed("watch", job, "--json")
    assert watched.code == 0, watched.err
    kinds = [json.loads(line)["type"] for line in watched.out.splitlines()]
    assert kinds == ["edit.queued", "edit.running", "edit.succeeded"]
    assert typed("watch", job).code == 0
    assert typed("watch", job, "ed_nowhere").code == 2
    sink.wait_for(1)
    for words in (["deliveries", "--json"], ["deliveries", "--job", job, "--json"]):
        assert [one["job_id"] for one in typed(*words).json] == [job]
    assert [(row["key"], row["useful"]) for row in typed("usage", "--json").json] == [("acme", 1)]
    status = typed("status", "--json").json
    assert (status["edits"]["held"], status["ended"]) == (0, {"succeeded": 1})
    assert status["workers"] == []


def test_workers_are_listed_for_role_ops(
    gateway_url: str, worker_environment: dict[str, str], client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`retouch status` over a gateway lists the same workers as over Redis, with a key of role ops."""
    Lanes(client).heartbeat(60.0, [], announcement("host:1", ["edits", "deliveries"], "2.1.0"), 4)
    monkeypatch.setenv("RETOUCH_REDIS_URL", worker_environment["RETOUCH_REDIS_URL"])
    over_redis = typed("status").out
    monkeypatch.setenv("RETOUCH_GATEWAY_URL", gateway_url)
    monkeypatch.setenv("RETOUCH_API_KEY", TenantStore(client).create_key("staff", "ops", "test")[1])
    line = "worker: host:1, version 2.1.0; lanes edits, deliveries; 4 threads for deliveries"
    assert line in typed("status").out
    (listed,) = typed("status", "--json").json["workers"]
    assert (listed["name"], listed["version"], listed["lanes"], listed["threads"]) == (
        "host:1",
        "2.1.0",
        ["edits", "deliveries"],
        4,
    )
    assert line in over_redis


def test_all_events_are_watched(key: str, client: Any, simulator: Simulator) -> None:
    """Without ids, `retouch watch` prints every new event."""
    Lanes(client).pause()
    job = typed("edit", simulator.portrait_url, "make it winter", "--no-wait", "--json").json["id"]
    with open_context() as context:
        events = events_of_all(context)
        assert next(events) is None
        typed("cancel", job)
        event = next(event for event in events if event)
    assert (event["type"], event["data"]["job_id"]) == ("edit.cancelled", job)


def test_a_batch_runs_and_runs_again(
    key: str, simulator: Simulator, module_worker: RunningWorker, tmp_path: Path
) -> None:
    """A batch saves each row. A second run makes no new job, and reports each row as saved before."""
    rows = [{"prompt": f"number {at}", "init_image": simulator.portrait_url} for at in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    first = typed("batch", "rows.jsonl", "--json")
    assert first.code == 0, first.err
    assert (first.json["saved"], first.json["saved_before"], first.json["possible_charges"]) == (3, 0, 3)
    again = typed("batch", "rows.jsonl", "--json")
    assert (again.json["saved"], again.json["saved_before"]) == (3, 3)
    assert len(typed("jobs", "--json").json) == 3


def test_errors_are_the_same_as_over_redis(key: str, client: Any) -> None:
    """A wrong request and an unknown job are reported as over Redis, and nothing is enqueued."""
    assert typed("edit", "https://example.com/in.png", "x", "--steps", "0").code == 2
    unknown = typed("job", "ed_000000000000000000000000")
    assert unknown.code != 0
    assert "not on record" in unknown.err
    assert typed("jobs", "--json").json == []
    assert "rtk_" not in unknown.err


def test_a_refused_key_and_a_silent_gateway(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong key, or while the gateway does not answer, a command ends with an error that names the cause."""
    monkeypatch.setenv("RETOUCH_API_KEY", "rtk_planted")
    refused = typed("jobs")
    assert refused.code != 0
    assert "API key" in refused.err
    assert "planted" not in refused.err
    monkeypatch.setenv("RETOUCH_GATEWAY_URL", "http://127.0.0.1:1")
    silent = typed("jobs")
    assert silent.code == 2
    assert "gateway did not answer" in silent.err


def test_what_needs_redis_says_so(key: str) -> None:
    """
    A command that needs the stores refuses to run over a gateway, and names the setting. So does a redelivery that is
    not limited to the key's tenant.
    """
    everybodys = [("redeliver", "--dead"), ("redeliver", "--receiver", "task:shop.notify", "--since", "1h")]
    for words in (("receivers", "list"), *everybodys):
        ended = typed(*words)
        assert (ended.code, ended.out) == (2, ""), words
        assert "RETOUCH_GATEWAY_URL" in ended.err


def test_several_images_are_saved(key: str, simulator: Simulator, module_worker: RunningWorker, tmp_path: Path) -> None:
    """`edit`, `job` and `batch` save each image of an answer to a file of its own."""
    (tmp_path / "winter-2.png").write_bytes(b"mine")
    ended = typed("edit", simulator.portrait_url, "make it winter", "--samples", "3", "--out", "winter.png", "--json")
    assert ended.code == 0, ended.err
    assert [Path(path).name for path in ended.json["paths"]] == ["winter.png", "winter-3.png", "winter-4.png"]
    assert (tmp_path / "winter-2.png").read_bytes() == b"mine"
    hashes = [one["sha256"] for one in ended.json["results"]]
    assert [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in ended.json["paths"]] == hashes
    job = ended.json["id"]
    own = f"/v1/edits/{job}"
    urls = [one["url"].partition("/v1")[2] for one in ended.json["results"]]
    assert [f"/v1{url}" for url in urls] == [f"{own}/image", f"{own}/image?index=1", f"{own}/image?index=2"]
    shown = typed("job", job, "--out", "again.png")
    saved = [line.split()[1] for line in shown.out.splitlines() if line.startswith("saved")]
    assert saved == ["again.png", "again-2.png", "again-3.png"]
    assert shown.out.count("\nurl ") == 3
    rows = [
        {"id": "a", "prompt": "make it spring", "init_image": simulator.portrait_url, "samples": 2},
        {"id": "a-2", "prompt": "make it autumn", "init_image": simulator.portrait_url},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert typed("batch", "rows.jsonl").code == 0
    folder = tmp_path / "rows-edited"
    assert sorted(path.name for path in folder.glob("[!.]*.png")) == ["a-2.png", "a-2_.png", "a.png"]
    before = (folder / "a-2_.png").read_bytes()
    (folder / "a-2_.png").unlink()
    assert typed("batch", "rows.jsonl", "--json").json["saved_before"] == 1
    assert (folder / "a-2_.png").read_bytes() == before
    refused = typed("edit", simulator.portrait_url, "x", "--samples", "17")
    assert (refused.code, "samples: expected a whole number from 1 to 16, got '17'" in refused.err) == (2, True)


def test_the_audit_is_filtered(key: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a gateway, `retouch audit` passes its filters on, and needs a key of role ops."""
    log, (_, secret) = AuditLog(client), TenantStore(client).create_key("staff", "ops", "test")
    log.record(Actor("http", "key_1", "anna", "ops"), "bulk.cancel", "acme")
    log.record(Actor("cli"), "bulk.replay", "other")
    assert typed("audit").code == 1
    monkeypatch.setenv("RETOUCH_API_KEY", secret)
    options = ("--action", "bulk", "--actor", "anna", "--tenant", "acme", "--since", "1h", "--until", "2999-01-01")
    assert [line["action"] for line in typed("audit", *options, "--json").json] == ["bulk.cancel"]
    assert typed("audit", "--until", "1h", "--json").json == []
