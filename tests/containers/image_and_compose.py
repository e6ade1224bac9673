"""The image and docker-compose.yml in a real engine: containers stop, die and restart while calls are in flight."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.containers.engine import Engine
from tests.process_watch import eventually

# Containers start one after another on shared processors: no test's length says anything here.
pytestmark = pytest.mark.timeout(900)

HARDENED = ["--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true"]
SERVICES = ("redis", "edits", "deliveries", "gateway", "flower")
ENVIRONMENT = {
    "RETOUCH_PIX2PIX_KEY": "planted-key",
    "RETOUCH_FLOWER_BASIC_AUTH": "ops:secret",
    "RETOUCH_PIX2PIX_URL": "http://simulator:8999/api/v5/pix2pix",
    "RETOUCH_PIX2PIX_FETCH_URL": "http://simulator:8999/api/v3/fetch",
}
ENQUEUE = """
import sys
from retouch import Edit, EditQueue
first, count = map(int, sys.argv[1:])
picture = "http://simulator:8999/samples/portrait.jpg"
with EditQueue() as queue:
    for i in range(first, first + count):
        queue.enqueue(Edit(prompt=f"winter {i}", init_image=picture), idempotency_key=f"order-{i}", webhook="http://receiver:9000/")
"""
BOOKS = """
import urllib.request
print(urllib.request.urlopen("http://simulator:8999/control/books?totals=1").read().decode())
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


class Stack:
    """The services of docker-compose.yml with a simulator and a receiver, and the jobs that were enqueued."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.asked = engine, 0

    def compose(self, *words: str) -> str:
        return self.engine.compose(*words, environment=ENVIRONMENT)

    def inspect(self, service: str, *, number: int = 1) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", f"imagetest_{service}_{number}"))
        return found[0]

    def healthy(self, service: str) -> bool:
        return bool(self.inspect(service)["State"]["Health"]["Status"] == "healthy")

    def enqueue(self, count: int) -> None:
        words = ("exec", "-i", "imagetest_gateway_1", "python", "-", str(self.asked), str(count))
        self.engine.docker(*words, text=ENQUEUE)
        self.asked += count

    def books(self) -> dict[str, int]:
        words = ("exec", "-i", "imagetest_gateway_1", "python", "-")
        totals: dict[str, int] = json.loads(self.engine.docker(*words, text=BOOKS))
        return totals

    def in_flight(self, count: int) -> Callable[[], bool]:
        return lambda: self.books()["in_flight"] >= count

    def delivered(self) -> bool:
        """Return whether the receiver got the event `edit.succeeded` of every enqueued job."""
        return self.engine.docker("logs", "imagetest_receiver_1").count("edit.succeeded") >= self.asked


@pytest.fixture(scope="module")
def stack(engine: Engine) -> Iterator[Stack]:
    stack = Stack(engine)
    stack.compose("up", "-d")
    try:
        yield stack
    finally:
        stack.compose("down", "-v", "-t", "5")


def test_the_image_runs_hardened_and_has_all_that_its_parts_import(engine: Engine) -> None:
    """The image runs as user 10001, read-only and without capabilities or network, and can import every part."""
    alone = ["run", *HARDENED, "--network", "none"]
    assert "Usage" in engine.docker(*alone, "retouch", "--help")
    assert "file:///var/lib/retouch/blobs" in engine.docker(*alone, "retouch", "settings", "--json")
    assert engine.docker(*alone, "--entrypoint", "id", "retouch", "-u") == "10001"
    imports = (
        "import kombu.transport.redis, flower, obstore, retouch_worker.broker_guard, "
        "retouch_worker.edits, retouch_producer.gateway, retouch_ops.cli"
    )
    engine.docker(*alone, "--entrypoint", "python", "retouch", "-c", imports)


def test_the_image_holds_no_tools_and_no_sources(engine: Engine) -> None:
    """The image has no pip, no uv, no compiler and no file from the folder of the build."""
    look = "ls /src /opt/tools /usr/bin/gcc /opt/retouch/bin/pip /opt/retouch/bin/uv 2>/dev/null | wc -l"
    run = ["run", *HARDENED, "--network", "none", "--entrypoint", "sh"]
    assert engine.docker(*run, "retouch", "-c", look) == "0"


def test_the_store_needs_a_volume(engine: Engine) -> None:
    """In a read-only container, the blob store opens on a volume. Without a volume, the error names the setting."""
    store = "from retouch.blobs import open_blobs; import os; open_blobs(os.environ['RETOUCH_STORE_URL'], 'http://x')"
    run = ["run", *HARDENED, "--network", "none", "--entrypoint", "python", "retouch", "-c", store]
    with pytest.raises(AssertionError, match="RETOUCH_STORE_URL"):
        engine.docker(*run)
    volume = ["run", "-v", "images:/var/lib/retouch/blobs", *run[1:]]
    assert engine.docker(*volume) == ""


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_gets_healthy_and_is_hardened(stack: Stack, service: str) -> None:
    """
    Each service is healthy, is read-only, does not run as root, has no capabilities, and has limits for memory,
    processes and logs.
    """
    assert eventually(lambda: stack.healthy(service), 120), stack.engine.docker("logs", f"imagetest_{service}_1")
    host = stack.inspect(service)["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], None)
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["LogConfig"]["Config"].keys() == {"max-size", "max-file"}
    status = stack.engine.docker("exec", f"imagetest_{service}_1", "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status
    assert "Uid:\t0" not in status


def test_published_ports_answer(stack: Stack) -> None:
    """The gateway answers on its published port, and Flower asks for its password."""
    status = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}")
    assert stack.engine.reach(*status, "http://127.0.0.1:8000/readyz") == "200"
    assert stack.engine.reach(*status, "http://127.0.0.1:5555/") == "401"
    assert stack.engine.reach(*status, "-u", "ops:secret", "http://127.0.0.1:5555/") == "200"


def test_twenty_jobs_cost_twenty_calls_and_bring_twenty_webhooks(stack: Stack) -> None:
    """Without faults, each of twenty jobs is paid for once, and its webhook arrives."""
    stack.enqueue(20)
    assert eventually(stack.delivered, 120)
    assert stack.books()["charged"] == 20


def test_a_stop_with_calls_in_flight_loses_and_repeats_nothing(stack: Stack) -> None:
    """
    `docker compose stop` waits for the calls in flight. After `start` the other jobs run, and no job is paid for twice.
    """
    paid = stack.books()["charged"]
    stack.enqueue(12)
    assert eventually(stack.in_flight(5), 30)
    stack.compose("stop", "edits")
    assert stack.inspect("edits")["State"]["ExitCode"] == 0
    assert stack.books()["in_flight"] == 0
    stack.compose("start", "edits")
    assert eventually(stack.delivered, 120)
    assert stack.books()["charged"] == paid + 12


def test_kill_9_of_the_container_recovers_every_job(stack: Stack) -> None:
    """When the worker's container is killed during calls, all eight jobs succeed with at most sixteen charges."""
    paid = stack.books()["charged"]
    stack.enqueue(8)
    assert eventually(stack.in_flight(5), 30)
    stack.engine.docker("kill", "-s", "KILL", "imagetest_edits_1")
    stack.compose("start", "edits")
    assert eventually(stack.delivered, 180)
    assert paid + 8 <= stack.books()["charged"] <= paid + 16


def test_a_killed_main_process_is_restarted_by_the_engine(stack: Stack) -> None:
    """When the main process of a worker is killed, `restart: always` restarts the container, and jobs run again."""
    before = stack.inspect("edits")["RestartCount"]
    stack.engine.reach("kill", "-9", str(stack.inspect("edits")["State"]["Pid"]))
    assert eventually(lambda: stack.inspect("edits")["RestartCount"] > before, 60)
    stack.enqueue(2)
    assert eventually(stack.delivered, 120)


def test_a_restart_of_redis_loses_nothing(stack: Stack) -> None:
    """Redis restarts while calls are in flight; all jobs end, and workers go on."""
    stack.enqueue(8)
    assert eventually(stack.in_flight(5), 30)
    stack.compose("restart", "redis")
    assert eventually(stack.delivered, 180)


def test_scaling_adds_a_worker_that_works(stack: Stack) -> None:
    """`--scale deliveries=2` starts a second delivery worker, and webhooks go on arriving."""
    stack.compose("up", "-d", "--scale", "deliveries=2")
    assert stack.inspect("deliveries", number=2)["State"]["Running"]
    stack.enqueue(4)
    assert eventually(stack.delivered, 120)


def test_no_log_holds_the_key_or_a_prompt(stack: Stack) -> None:
    """After all of these tests, no container's log has the endpoint's key, a prompt or the picture's address."""
    for service in ("edits", "deliveries", "gateway", "flower"):
        lines = stack.engine.docker("logs", f"imagetest_{service}_1")
        assert not [word for word in ("planted-key", "winter ", "portrait.jpg") if word in lines]
