"""Tests with three accounts, three simulators and real workers: accounts fail, and no job is lost or paid twice."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from retouch import Edit, EditQueue, Job
from retouch.store.accounts import AccountStore
from retouch.store.audit import AuditLog
from retouch.store.keys import account_ledger
from retouch.store.ledger import Ledger
from retouch_ops.simulator.process import Simulator
from tests.process_watch import eventually

if TYPE_CHECKING:
    from tests.conftest import RunningWorker

NAMES = ("main", "second", "third")


def key_of(name: str) -> str:
    return f"sk-planted-{name}"


@pytest.fixture
def simulators() -> Iterator[dict[str, Simulator]]:
    """
    Yield one simulator for each account, by the account's name. Each simulator accepts only the key of its account.
    """
    options: dict[str, Any] = {"latency_s": 0.02, "spam_filter_s": 0.0, "processing_s": 0.1, "cap": 5}
    with Simulator(**options) as main, Simulator(**options) as second, Simulator(**options) as third:
        by_name = dict(zip(NAMES, (main, second, third), strict=True))
        for name, simulator in by_name.items():
            simulator.settings(keys=[key_of(name)])
        yield by_name


@pytest.fixture
def running(worker: Callable[..., RunningWorker], simulators: dict[str, Simulator], tmp_path: Path) -> RunningWorker:
    """Start and return a worker that has the keys of all three accounts."""
    tables = []
    for name, simulator in simulators.items():
        (tmp_path / f"{name}.key").write_text(key_of(name))
        urls = f'url = "{simulator.pix2pix_url}"\nfetch_url = "{simulator.fetch_url}"\n'
        tables.append(f'[accounts.{name}]\n{urls}key_file = "{name}.key"\nlimit = 5\n')
    (tmp_path / "accounts.toml").write_text("\n".join(tables))
    started = worker(accounts=tmp_path / "accounts.toml", log_format="json", pix2pix_key="", lease_s=3)
    assert eventually(lambda: " ready." in started.log), started.log
    return started


@pytest.fixture
def store(client: Any, running: RunningWorker) -> AccountStore:
    accounts = AccountStore(client)
    assert eventually(lambda: [one.served for one in accounts.all()] == [True] * 3), running.log
    return accounts


def enqueue(queue: EditQueue, simulators: dict[str, Simulator], count: int, **options: Any) -> list[Job]:
    portrait = simulators["main"].portrait_url
    edits = [Edit(prompt=f"winter [[{number}]]", init_image=portrait) for number in range(count)]
    return [queue.enqueue(edit, **options) for edit in edits]


def charged(simulator: Simulator) -> int:
    return int(simulator.books(totals=True)["charged"])


def test_accounts_that_fail_cost_nothing(
    queue: EditQueue, simulators: dict[str, Simulator], store: AccountStore, running: RunningWorker, client: Any
) -> None:
    """
    One account refuses its key, one has a full queue, and one often answers `processing`. Every job still gets its
    image with one charge. The account with the refused key is closed.
    """
    simulators["second"].settings(keys=["sk-another-one"])
    simulators["third"].settings(cap=1)
    simulators["main"].faults(rates={"processing": 0.5})
    jobs = enqueue(queue, simulators, 60, max_charges=1)
    assert {job.result(60).format for job in jobs} == {"PNG"}
    assert store.show("second").closed == "bad_key"
    assert [one.closed for one in store.all() if one.id != "second"] == ["", ""]
    books = {name: charged(simulator) for name, simulator in simulators.items()}
    assert books["second"] == 0
    assert sum(books.values()) == len(jobs)
    usage = {row.key: row.useful for row in Ledger(client).usage(by="account")}
    assert {name: usage.get(name, 0) for name in NAMES} == books
    assert "account_closed" in running.log
    assert "sk-planted" not in running.log
    assert client.exists(account_ledger("second")) == 0

    simulators["second"].settings(keys=[key_of("second")])
    assert store.test("second") is True
    more = enqueue(queue, simulators, 30)
    assert {job.result(60).format for job in more} == {"PNG"}
    assert eventually(lambda: store.show("second").closed == "")
    assert charged(simulators["second"]) > 0
    assert eventually(lambda: "account_opened" in running.log)
    assert audited_changes(client) == [("account.closed", ["second"], "bad_key"), ("account.opened", ["second"], None)]


def audited_changes(client: Any) -> list[tuple[str, object, object]]:
    """Return (action, accounts, outcome) of each line that a worker wrote into the audit log, oldest first."""
    lines = [line for line in reversed(AuditLog(client).lines()) if line.actor.surface == "worker"]
    assert all(line.actor.name.startswith(f"{socket.gethostname()}:") for line in lines)
    return [(line.action, line.details["ids"], line.details.get("outcome")) for line in lines]


def test_a_drain_under_load_loses_nothing(
    queue: EditQueue, simulators: dict[str, Simulator], store: AccountStore
) -> None:
    """
    When an account has drained, no further charge is made at it. Other accounts run the remaining jobs, and each job is
    paid once.
    """
    simulators["main"].settings(latency_s=0.2)
    jobs = enqueue(queue, simulators, 40, max_charges=1)
    assert eventually(lambda: charged(simulators["main"]) > 0)
    store.drain("main")
    assert eventually(lambda: store.show("main").held == 0)
    at_drain = charged(simulators["main"])
    assert {job.result(60).format for job in jobs} == {"PNG"}
    assert charged(simulators["main"]) == at_drain
    assert sum(charged(simulator) for simulator in simulators.values()) == len(jobs)
