"""The local stack, and `retouch up`, which runs it until Ctrl-C."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from retouch.errors import RetouchError
from retouch.options import DEFAULT_TENANT
from retouch.settings import Settings
from retouch.store.console_sessions import ConsoleSessions
from retouch.store.redis_client import connect
from retouch.store.tenants import TenantStore
from retouch_ops.processes import Group, NotReady, Report
from retouch_ops.stack import programs
from retouch_ops.stack.accounts import name_of, simulated_accounts, write_accounts
from retouch_ops.stack.folder import HOST, StateFolder
from retouch_ops.stack.programs import Ports
from retouch_ops.stack_discovery import DEFAULT_STATE, adopted_names

READY_WITHIN_S = 60.0
SIMULATOR_KEY = "simulator"
SHARED_SETTINGS = (
    "RETOUCH_REDIS_URL",
    "RETOUCH_STORE_URL",
    "RETOUCH_PUBLIC_URL",
    "RETOUCH_PIX2PIX_URL",
    "RETOUCH_PIX2PIX_FETCH_URL",
    "RETOUCH_ACCOUNTS",
    "RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS",
)


class RealAccounts(RetouchError):
    """`--accounts` asks for simulators, but a key or an accounts file for the real endpoint is set."""

    is_usage_error = True


class Stack:
    """
    Embedded Redis, simulator, gateway, workers and Flower as children of this process.

    If `accounts` is above 0, the stack has that many accounts, an accounts file, and a simulator for each account. Use
    the stack as a context manager from the main thread, or call `start`, `group.supervise` and `stop`.

    Raises `RealAccounts`, `StateInUse`, `StateNotOurs`, `StateUnusable`, `PortTaken` or `NotReady`. After an error, no
    part runs.
    """

    def __init__(
        self,
        state: Path,
        *,
        port: int | None = None,
        fresh: bool = False,
        accounts: int = 0,
        report: Report,
        write: Report,
    ) -> None:
        self.base = {name: value for name, value in os.environ.items() if name not in adopted_names()}
        self.settings = _own_settings()
        if accounts and not self.simulated:
            raise RealAccounts(
                "--accounts starts simulators, but RETOUCH_PIX2PIX_KEY or RETOUCH_ACCOUNTS is set; nothing was "
                "started: unset both, or leave --accounts out"
            )
        self.folder = StateFolder(state, fresh=fresh)
        try:
            self.ports = self._choose_ports(port, accounts)
            self.accounts = simulated_accounts(self.ports.accounts)
            if self.accounts:
                write_accounts(self.accounts, self.folder.path)
        except BaseException:
            self.folder.release()
            raise
        self.group = Group(report, write)
        self.environment = programs.stack_environment(self.base, self.settings, self.ports, self.folder.path)

    def _choose_ports(self, requested: int | None, accounts: int) -> Ports:
        return Ports(
            gateway=self.folder.port("gateway", requested=requested, preferred=[self.settings.gateway_port]),
            redis=self.folder.port("redis"),
            simulator=self.folder.port("simulator"),
            flower=self.folder.port("flower", preferred=[self.settings.flower_port]),
            accounts=tuple(self.folder.port(name_of(number)) for number in range(1, accounts + 1)),
        )

    @property
    def simulated(self) -> bool:
        """True if simulators replace the endpoint, because neither a key nor an accounts file is set."""
        return programs.is_simulated(self.settings)

    def start(self) -> None:
        """Start Redis, then all other parts. Return when every part answers, or after a signal to stop."""
        ports, environment = self.ports, self.environment
        try:
            self.group.start(programs.valkey_program(ports.redis, self.folder.path / "redis"))
            self.group.wait_ready(READY_WITHIN_S)
            self._create_owner_key()
            key = self.settings.pix2pix_key.get_secret_value() or SIMULATOR_KEY
            workers = programs.all_worker_programs(environment, self.settings, key, f"up{os.getpid()}")
            servers = [
                programs.gateway_program(environment, ports.gateway),
                programs.flower_program(environment, ports.flower),
            ]
            servers += [programs.account_program(environment, account) for account in self.accounts]
            if self.simulated and not self.accounts:
                servers.append(programs.simulator_program(environment, ports.simulator))
            # Two stages, stopped in reverse order: a worker that finishes its call still needs simulator and gateway.
            self.group.start(*servers)
            self.group.start(*workers)
            self.group.wait_ready(READY_WITHIN_S)
            self._wait_for_workers([worker.name for worker in workers])
        except BaseException:
            self.stop()
            raise
        self.folder.record(self.description())

    def _create_owner_key(self) -> None:
        """
        Add the API key of the state folder to the new Redis, with the role ops, so that the gateway accepts the key.
        """
        client = connect(Settings.load(redis_url=self.environment["RETOUCH_REDIS_URL"], broker_url=""))
        TenantStore(client).add_key(self.folder.api_key(), DEFAULT_TENANT, "ops", "retouch up")
        client.close()

    def console_link(self) -> str:
        """
        Return a URL that signs a browser in to the console with the API key of the state folder. The URL works once.
        """
        client = connect(Settings.load(redis_url=self.environment["RETOUCH_REDIS_URL"], broker_url=""))
        link = ConsoleSessions(client).make_link(self.folder.api_key())
        client.close()
        return f"{self.urls()['gateway_url']}/console/enter/{link}"

    def _wait_for_workers(self, names: list[str]) -> None:
        settings = Settings.load(redis_url=self.environment["RETOUCH_REDIS_URL"], broker_url="")
        until = time.monotonic() + READY_WITHIN_S
        while not self.group.signals and not programs.workers_answer(settings, names):
            self.group.check_children()
            if time.monotonic() > until:
                raise NotReady(f"{', '.join(names)}: no answer through the broker within {READY_WITHIN_S:g} s")

    def description(self) -> dict[str, object]:
        """Return the content of `stack.json`: URLs, process ids and the shared settings. It contains no secret."""
        return {
            **self.urls(),
            "accounts": {account.id: account.url for account in self.accounts},
            "pids": {"up": os.getpid(), **self.group.pids},
            "environment": self.shared_environment(),
        }

    def shared_environment(self) -> dict[str, str]:
        """Return the environment variables with which other commands find this stack. They contain no secret."""
        return {name: self.environment[name] for name in SHARED_SETTINGS if name in self.environment}

    def urls(self) -> dict[str, str | None]:
        """
        Return the URLs of the parts by name. `simulator_url` is the URL of the first simulator, or None if there is
        none.
        """
        simulator = self.accounts[0].url if self.accounts else f"http://{HOST}:{self.ports.simulator}"
        return {
            "gateway_url": f"http://{HOST}:{self.ports.gateway}",
            "flower_url": f"http://{HOST}:{self.ports.flower}",
            "simulator_url": simulator if self.simulated else None,
            "redis_url": self.environment["RETOUCH_REDIS_URL"],
        }

    def stop(self) -> None:
        """Stop all parts, Redis last, and release the state folder."""
        self.group.stop()
        self.folder.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def _own_settings() -> Settings:
    """Return the settings of the environment. Settings that came from another running stack are left out."""
    defaults = {
        name.removeprefix("RETOUCH_").lower(): Settings.model_fields[name.removeprefix("RETOUCH_").lower()].default
        for name in adopted_names()
    }
    return Settings.load(**defaults)


def run_until_stopped(state: Path, *, port: int | None, fresh: bool, accounts: int = 0) -> None:
    """
    Run the stack in the foreground, with one log, until Ctrl-C or SIGTERM.

    A part that dies is started again. A second signal kills the parts that have not stopped yet.
    """
    stack = Stack(state, port=port, fresh=fresh, accounts=accounts, report=_say, write=_print)
    with stack.group.counting_signals():
        begun_at = time.monotonic()
        _print_notes(stack, _say)
        stack.start()
        if not stack.group.signals:
            _say(_ready_line(stack, time.monotonic() - begun_at))
            _say(f"console {stack.console_link()} signs you in, once and within an hour")
        try:
            stack.group.supervise()
        finally:
            stack.stop()
    _say("all stopped")


def _print_notes(stack: Stack, say: Callable[[str], None]) -> None:
    say(f"starting on {stack.folder.path}")
    networks = stack.environment["RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS"]
    say(f"jobs of this stack may reach private addresses: RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS={networks}")
    if stack.folder.path == DEFAULT_STATE.resolve():
        say(
            '`retouch` finds this stack in this folder; programs of yours do after: eval "$(retouch settings --export)"'
        )
    if not stack.simulated:
        name = "RETOUCH_ACCOUNTS" if stack.settings.accounts else "RETOUCH_PIX2PIX_KEY"
        say(f"{name} is set: the real endpoint is called, and calls cost money")
    if {"RETOUCH_REDIS_URL", "RETOUCH_BROKER_URL"} & stack.base.keys():
        say("RETOUCH_REDIS_URL and RETOUCH_BROKER_URL are not used here: this stack runs a Redis of its own")


def _ready_line(stack: Stack, spent_s: float) -> str:
    named = {name.removesuffix("_url"): url for name, url in stack.urls().items() if url}
    if stack.accounts:
        del named["simulator"]
        named |= {f"account {account.id}": account.url for account in stack.accounts}
    addresses = " · ".join(f"{name} {url}" for name, url in named.items())
    return f"ready in {spent_s:.1f} s: {addresses} · API key {stack.folder.api_key()} · Ctrl-C stops"


def _say(line: str) -> None:
    _print(f"retouch | {line}")


def _print(line: str) -> None:
    print(line, flush=True)
