"""The processes of a hostile run: Valkey, simulator, gateway, a worker for each lane, a server for each tenant."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retouch import Settings
from retouch.connections import Connections
from retouch.store.tenants import TenantStore
from retouch_ops.bench.child import MeasuredChild
from retouch_ops.simulator.process import Simulator
from retouch_ops.stack.programs import DELIVERY_THREADS, EDIT_THREADS, accepts, http_ok, valkey_program, workers_answer
from retouch_ops.worker_command import MEMORY
from tests.chaos.stack import environment_of
from tests.free_ports import free_port
from tests.hostile.preparation import TENANT
from tests.process_watch import eventually

LATENCY_S, IN_FLIGHT = 1.0, 15
"""The latency of the endpoint, and the requests in flight that the largest plan allows."""

# Linux shares the CPU among sessions first, whatever the priorities of the processes in them are, if autogroups are on.
_REMOTE = ["sh", "-c", 'echo 19 > /proc/self/autogroup; exec nice -n 19 "$0" "$@"']


@dataclass
class Stage:
    """
    All running processes. `secrets` has the API keys by tenant.

    Some processes stand for other machines. With `yields`, these processes get only the CPU that the servers under test
    leave free. On a busy machine this may be none, so only measurements of time set `yields`.
    """

    folder: Path
    settings: Settings
    connections: Connections
    simulator: Simulator
    yields: bool
    parts: dict[str, MeasuredChild] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def run(self, name: str, *command: str, is_remote: bool = False) -> MeasuredChild:
        """
        Start a Python process that logs into the folder, and return the process.

        With `is_remote`, the process stands for another machine.
        """
        program = [*(_REMOTE if is_remote and self.yields else []), sys.executable, "-m", *command]
        part = MeasuredChild(program, self.folder / f"{name}.log", {**MEMORY, **environment_of(self.settings)})
        self.parts[name] = part
        return part

    def stop(self) -> None:
        """Kill every process."""
        for part in self.parts.values():
            part.stop()

    def rss_megabytes(self) -> dict[str, float]:
        """Return the resident memory of gateway, workers and Redis in megabytes, by name."""
        names = ("gateway", "edits", "deliveries", "redis")
        return {name: self.parts[name].rss_bytes() / 1e6 for name in names}


def last_line(part: MeasuredChild, after: int = 0, within_s: float = 60.0) -> str:
    """Wait until the log of a process has more than `after` bytes and ends with a whole line. Return the last line."""

    def more() -> str | None:
        text = part.log.read_text()
        if len(text) > after and text.endswith("\n"):
            return text
        part.check_alive()
        return None

    assert eventually(more, within_s), f"{part.log.stem} said nothing"
    return part.log.read_text().splitlines()[-1]


def ask(part: MeasuredChild, within_s: float = 60.0) -> dict[str, Any]:
    """Write a line to a process and return the JSON object that it prints."""
    before = part.log.stat().st_size
    part.ask("now")
    reply: dict[str, Any] = json.loads(last_line(part, before, within_s))
    return reply


@contextmanager
def a_stage(folder: Path, *, yields: bool = True, **settings: Any) -> Iterator[Stage]:
    """
    Context manager that starts all processes, yields a stage with this value of `yields`, and kills all processes.
    """
    with ExitStack() as stack:
        simulator = stack.enter_context(Simulator(latency_s=LATENCY_S, cap=200, spam_filter_s=0.0))
        redis_port, gateway_port = free_port(), free_port()
        stage_settings = Settings.load(
            **{
                "redis_url": f"redis://127.0.0.1:{redis_port}/0",
                "pix2pix_url": simulator.pix2pix_url,
                "pix2pix_fetch_url": simulator.fetch_url,
                "pix2pix_key": "sk-hostile",
                "store_url": (folder / "blobs").as_uri(),
                "public_url": f"http://127.0.0.1:{gateway_port}",
                "gateway_port": gateway_port,
                "dangerous_allow_private_networks": "127.0.0.0/8",
                "in_flight_limit": IN_FLIGHT,
                "log_level": "WARNING",
                **settings,
            }
        )
        redis = MeasuredChild(valkey_program(redis_port, folder / "valkey").command, folder / "redis.log")
        stage = Stage(folder, stage_settings, Connections(stage_settings), simulator, yields, {"redis": redis})
        stack.callback(stage.stop)
        assert eventually(lambda: accepts(redis_port)), "Valkey did not start"
        _start(stage, redis_port)
        yield stage


def _start(stage: Stage, redis_port: int) -> None:
    client: Any = stage.connections.client
    client.config_set("slowlog-log-slower-than", 5_000)
    client.config_set("slowlog-max-len", 10_000)
    for tenant in ("quiet", TENANT):
        stage.secrets[tenant] = TenantStore(client).create_key(tenant)[1]
        receivers = stage.run(f"receivers-of-{tenant}", "tests.hostile.receivers", is_remote=tenant == TENANT)
        stage.urls[tenant] = f"http://127.0.0.1:{last_line(receivers)}"
    stage.run("prober", "tests.hostile.prober", str(redis_port))
    stage.run("gateway", "retouch_producer.gateway")
    stage.urls["gateway"] = stage.settings.public_url
    for lane, threads in (("edits", EDIT_THREADS), ("deliveries", DELIVERY_THREADS)):
        stage.run(lane, "retouch_ops.worker_process", lane, lane, str(threads))
    assert eventually(http_ok(f"{stage.settings.public_url}/readyz")), "the gateway did not start"
    assert eventually(lambda: workers_answer(stage.settings, ["edits", "deliveries"])), "the workers did not start"
