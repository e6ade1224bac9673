"""Runs the processes that measurements need: an append-only Valkey, a stub endpoint, workers, the gateway, Flower."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from retouch import Edit, EditQueue
from retouch.settings import Settings
from retouch_ops.bench.baselines.celery_tutorial import make_tutorial_app
from retouch_ops.bench.baselines.no_queue import Cost
from retouch_ops.bench.child import MeasuredChild, NotMeasured
from retouch_ops.stack.programs import LOOPBACK, accepts, valkey_program, workers_answer
from retouch_ops.worker_command import MEMORY

_START_S, _WORK_S = 30.0, 180.0
PROMPT = "make him a woman with long hair, in the style of an old photograph"


class Harness:
    """
    Context manager that starts the processes of one measurement on demand. At the end of the block, it kills them.

    The log of a worker goes to a file, in the format of production. Retouch and the baseline, which is the Celery app
    of a tutorial, use the same Valkey one after the other. `say` prints a line of progress.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._folder = tempfile.TemporaryDirectory(prefix="retouch-bench-")
        self._path = Path(self._folder.name)
        self._children: list[MeasuredChild] = []
        self._started = 0
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        port = _free_port()
        self.redis_url = f"redis://127.0.0.1:{port}/0"
        program = valkey_program(port, self._path / "valkey")
        self.valkey = child = self._run("valkey", program.command)
        self._wait_until(lambda: program.ready is not None and program.ready(), child)
        self.client = redis.Redis.from_url(self.redis_url, decode_responses=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for child in reversed(self._children):
            child.stop()
        self._folder.cleanup()

    def web(self, module: str, **environment: str) -> tuple[str, MeasuredChild]:
        """
        Start a module that serves HTTP, and wait until it listens. Return the URL and the process.

        The module gets the port as an argument and as a setting.
        """
        port = _free_port()
        own = {f"RETOUCH_{name.upper()}": str(value) for name, value in self._overrides("http://127.0.0.1:1").items()}
        # Settings of the shell must not change what is measured.
        plain = {name: value for name, value in os.environ.items() if not name.startswith("RETOUCH_")}
        gateway_environment = {**plain, **own, "RETOUCH_GATEWAY_PORT": str(port), **environment}
        child = self._run(
            module.rpartition(".")[2], [sys.executable, "-P", "-m", module, str(port)], gateway_environment
        )
        self._wait_until(lambda: accepts(port), child)
        return f"http://127.0.0.1:{port}", child

    def stub(self, *, latency_s: float = 0.0, side: int = 64, kind: str = "success") -> str:
        """Start a stub endpoint (see `endpoint_stub.py`), and return its URL."""
        command = [sys.executable, "-P", "-m", "retouch_ops.bench.endpoint_stub", str(latency_s), str(side), kind]
        child = self._run("stub", command)
        self._wait_until(lambda: child.log.read_text().endswith("\n"), child)
        return f"http://127.0.0.1:{child.log.read_text().strip()}"

    def settings(self, stub_url: str = "http://127.0.0.1:1", **more: object) -> Settings:
        """
        Return settings for the processes of this harness. Settings that are not given here come from the environment.
        """
        return Settings.load(**self._overrides(stub_url), **more)

    def queue(self, stub_url: str = "http://127.0.0.1:1", **more: object) -> EditQueue:
        """Return a client that enqueues in this Valkey."""
        return EditQueue(settings=self.settings(stub_url, **more))

    def _overrides(self, stub_url: str) -> dict[str, object]:
        return {
            "redis_url": self.redis_url,
            "broker_url": "",
            "redis_timeout_s": 10.0,  # the machine is busy on purpose
            "pix2pix_url": f"{stub_url}/edit",
            "pix2pix_fetch_url": f"{stub_url}/fetch",
            "pix2pix_key": "bench",
            "store_url": (self._path / "blobs").as_uri(),
            "dangerous_allow_private_networks": LOOPBACK,
            "log_format": "json",
        }

    def workers(
        self, stub_url: str, *, processes: int, threads: int, module: str = "retouch_ops.worker_process", **more: object
    ) -> list[MeasuredChild]:
        """Start worker processes for both lanes, and wait until all are ready. Each process has `threads` threads."""
        self._started += 1
        settings = self.settings(stub_url, **more)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("RETOUCH_")}
        own = {f"RETOUCH_{name.upper()}": str(value) for name, value in {**self._overrides(stub_url), **more}.items()}
        names = [f"bench{self._started}-{number}" for number in range(processes)]
        command = [sys.executable, "-P", "-m", module]
        children = [
            self._run(name, [*command, name, "edits,deliveries", str(threads)], {**MEMORY, **plain, **own})
            for name in names
        ]
        self._wait_until(lambda: workers_answer(settings, names), *children)
        return children

    def tutorial_workers(self, *, processes: int, threads: int, pool: str) -> list[MeasuredChild]:
        """Start workers of the tutorial's Celery app, and wait until all are ready."""
        self._started += 1
        names = [f"tutorial{self._started}-{number}" for number in range(processes)]
        command = [
            sys.executable,
            "-P",
            "-m",
            "retouch_ops.bench.baselines.celery_tutorial",
            self.redis_url,
            pool,
            str(threads),
        ]
        children = [self._run(name, [*command, name]) for name in names]
        with make_tutorial_app(self.redis_url) as app:
            self._wait_until(
                lambda: len(app.control.ping(timeout=1.0, limit=len(names)) or ()) == len(names), *children
            )
        return children

    def run_no_queue(self, stub_url: str, jobs: int, threads: int) -> Cost:
        """Run the baseline without a queue in a process of its own, and return its cost."""
        command = [
            sys.executable,
            "-P",
            "-m",
            "retouch_ops.bench.baselines.no_queue",
            stub_url,
            str(self.folder("plain")),
        ]
        child = self._run("no-queue", [*command, str(jobs), str(threads)])
        child.process.wait(_WORK_S)
        return Cost(**json.loads(child.log.read_text()))

    def neighbour(self, url: str, secret: str, rate_per_s: float) -> MeasuredChild:
        """
        Start a client that enqueues at a steady rate, and return its process.

        If you call `ask` on the process, the client prints its latencies and ends.
        """
        command = [sys.executable, "-P", "-m", "retouch_ops.bench.bulk_neighbour", url, secret, str(rate_per_s)]
        return self._run("neighbour", command)

    def folder(self, name: str) -> Path:
        """Return a folder of this name, created if needed; it is deleted at the end."""
        path = self._path / name
        path.mkdir(exist_ok=True)
        return path

    def wait_for_webhooks(self, stub_url: str, at_least: int) -> float:
        """
        Wait until at least this many webhooks have arrived. Return the monotonic time of the latest webhook in seconds.
        """
        with self._http.open(f"{stub_url}/hooks?{at_least}", timeout=_WORK_S) as reply:
            return float(json.load(reply)["last_at"])

    def snapshots(self, children: Sequence[MeasuredChild]) -> list[dict[str, float]]:
        """
        Return the CPU seconds so far by section, as one dict for each process.

        The processes must run the module `worker_profile`, which defines the sections.
        """
        self._started += 1
        snapshots = []
        for number, child in enumerate(children):
            path = self._path / f"snapshot{self._started}-{number}.json"
            child.ask(str(path))
            self._wait_until(path.exists, child)
            snapshots.append(json.loads(path.read_text()))
        return snapshots

    def stop(self, children: Sequence[MeasuredChild]) -> None:
        """Stop processes before the end of the block, so that they do not disturb the next step."""
        for child in children:
            child.stop()
            self._children.remove(child)

    def flower(self, settings: Settings) -> MeasuredChild:
        """Start Flower on this broker, and wait until Flower has subscribed to events. Return the process."""
        own = {"RETOUCH_REDIS_URL": settings.redis_url, "RETOUCH_FLOWER_PORT": "0"}
        child = self._run("flower", [sys.executable, "-P", "-m", "retouch_ops.cli", "flower"], {**os.environ, **own})
        self._wait_until(lambda: bool(self.client.pubsub_numpat()), child)
        return child

    def _run(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> MeasuredChild:
        log = self._path / f"{name}-{len(self._children)}-{time.monotonic_ns()}.log"
        child = MeasuredChild(command, log, environment)
        self._children.append(child)
        return child

    def _wait_until(self, ready: Callable[[], object], *children: MeasuredChild) -> None:
        deadline_at = time.monotonic() + _START_S
        while not ready():
            for child in children:
                child.check_alive()
            if time.monotonic() > deadline_at:
                raise NotMeasured(f"{children[0].log.stem} was not ready within {_START_S:g} s")
            time.sleep(0.01)


def edits(count: int, stub_url: str = "https://example.com") -> list[Edit]:
    """Return `count` edits that differ in their prompts."""
    url = f"{stub_url}/generations/b3341a09-082e-474e-989f-72ec3f3bf7aa-0.png"
    return [Edit(prompt=f"{PROMPT} {number}", init_image=url, steps=50) for number in range(count)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
