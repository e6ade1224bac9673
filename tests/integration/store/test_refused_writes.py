"""
While Redis refuses writes, a worker keeps its paid answer and tries again, and a producer gets an error with the
reason.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from retouch import Edit, EditQueue, Settings, StoreUnavailable
from retouch.outcomes import Ready
from retouch.store.jobs import JobStore, SharedJobStore
from retouch.store.lanes import Lanes
from retouch.store.redis_client import connect, connect_on_loop
from retouch.store.redis_retry import RedisRetry
from retouch.store.scripts import Message
from tests.async_driver import driven
from tests.chaos.proxy import Proxy
from tests.free_ports import own_valkey
from tests.lane_kit import RETENTION_S, LaneKit
from tests.process_watch import eventually

PAID = Ready(("https://out.example/a.png",), "7")
EDIT = Edit(prompt="make it winter", init_image="https://example.com/in.png")


@dataclass
class Fault:
    """
    A reason for which Redis refuses writes. `spoil` begins the refusals, `heal` ends them, and the error contains
    `reason`.
    """

    word: str
    spoil: str
    heal: str
    reason: str


FAULTS = [
    Fault("OOM", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "is out of memory"),
    Fault("READONLY", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "is a read-only replica"),
    Fault(
        "NOREPLICAS",
        "CONFIG SET min-replicas-to-write 1",
        "CONFIG SET min-replicas-to-write 0",
        "has too few replicas to take writes",
    ),
    Fault("MISCONF", 'CONFIG SET save "3600 1"; BGSAVE', 'CONFIG SET save ""', "cannot write to its disk"),
    Fault(
        "MASTERDOWN",
        "CONFIG SET replica-serve-stale-data no; REPLICAOF 127.0.0.1 1",
        "REPLICAOF NO ONE; CONFIG SET replica-serve-stale-data yes",
        "is a replica without its primary",
    ),
]


@dataclass
class Frail:
    """A Redis server of the test that can be made to refuse writes and to accept them again."""

    url: str
    kit: LaneKit

    def run(self, commands: str) -> None:
        for command in commands.split("; "):
            self.kit.client.execute_command(*shlex.split(command))

    def refused(self, word: str) -> int:
        stats: dict[str, Any] = self.kit.client.info("errorstats")
        return int(stats.get(f"errorstat_{word}", {"count": 0})["count"])

    def spoil(self, fault: Fault) -> None:
        self.kit.client.config_resetstat()
        self.run(fault.spoil)
        if fault.word == "MISCONF":
            assert eventually(lambda: self.kit.client.info("persistence")["rdb_last_bgsave_status"] == "err")


@contextmanager
def a_server(folder: Path) -> Iterator[str]:
    """Context manager that runs a Redis server, which writes its dumps to `folder`, and yields the server's URL."""
    with own_valkey(data_dir=folder, config={"save": ""}) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("gone")
    with a_server(folder) as url:
        shutil.rmtree(folder)
        yield url


@pytest.fixture
def frail(server: str) -> Iterator[Frail]:
    client: Any = connect(Settings.load(redis_url=server))
    client.flushdb()
    yield Frail(server, LaneKit(client))
    client.close()


def worker_store(url: str) -> JobStore:
    """Return a job store that retries as a worker process does."""
    return JobStore(connect(Settings.load(redis_url=url), patience=RedisRetry(60.0)), retention_s=RETENTION_S)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.word))
def test_a_paid_answer_is_held_until_redis_takes_it(frail: Frail, fault: Fault) -> None:
    """
    While Redis refuses writes, a worker repeats the recording of a paid answer. The recording succeeds when Redis
    accepts writes again.
    """
    new = frail.kit.new()
    frail.kit.enqueue(new)
    jobs = worker_store(frail.url)
    claim = jobs.claim(new.id, 60.0)
    assert claim is not None
    assert jobs.intend(claim) == "ok"
    frail.spoil(fault)
    with ThreadPoolExecutor(1) as pool:
        kept = pool.submit(jobs.answer, claim, "succeeded", PAID, "ok")
        assert eventually(lambda: kept.done() or frail.refused(fault.word) >= 2)
        assert not kept.done()
        frail.run(fault.heal)
        assert kept.result(20.0) == ([], 0.0, "")
    record = frail.kit.jobs.record(new.id)
    assert record is not None
    assert record.resumable
    assert [charge.kind for charge in record.charges] == ["succeeded"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.word))
@pytest.mark.parametrize("kind", ["plain", "asyncio"])
def test_a_producer_gets_the_reason(frail: Frail, fault: Fault, kind: str) -> None:
    """
    While Redis refuses writes, `enqueue` raises StoreUnavailable with the reason at once. When Redis accepts writes
    again, the same idempotency key can be used.
    """
    with EditQueue(frail.url) if kind == "plain" else driven(frail.url) as queue:
        before = queue.enqueue(EDIT)
        frail.spoil(fault)
        with pytest.raises(StoreUnavailable, match=f"Redis {fault.reason}; .* not carried out.* safe") as raised:
            queue.enqueue(EDIT, idempotency_key="order-17")
        frail.run(fault.heal)
        assert "winter" not in str(raised.value)
        assert queue.enqueue(EDIT, idempotency_key="order-17").id != before.id


@pytest.mark.parametrize("kind", ["worker", "plain", "asyncio"])
def test_a_failover_leads_to_the_new_primary(server: str, tmp_path: Path, kind: str) -> None:
    """
    When the old primary becomes a replica and refuses a write, the client connects again and reaches the new primary.
    """
    with a_server(tmp_path) as later, ExitStack() as stack:
        way = stack.enter_context(Proxy(port_of(server)))
        url = f"redis://127.0.0.1:{way.port}/0"
        old, new = (LaneKit(connect(Settings.load(redis_url=each))) for each in (server, later))
        if kind == "worker":
            enqueue = partial(worker_store(url).enqueue, [new.new()])
        else:
            queue: Any = stack.enter_context(EditQueue(url) if kind == "plain" else driven(url))
            enqueue = partial(queue.enqueue, EDIT)
        enqueue()
        way.lead_to(port_of(later))
        old.client.replicaof("127.0.0.1", 1)
        stack.callback(old.client.replicaof, "NO", "ONE")
        enqueue()
        assert len(new.client.keys("rt:edits:spec:*")) == 1


def test_a_script_that_was_sent_to_the_old_primary(frail: Frail) -> None:
    """
    If the server does not know a script, the client sends the script's text, even if it loaded the script on another
    server.
    """
    client: Any = connect(Settings.load(redis_url=frail.url))
    client.script_flush()
    client.script_load = lambda text: sha1(text.encode(), usedforsecurity=False).hexdigest()
    assert Lanes(client).heartbeat(15.0, [("edits", "ed_1", 1)]) == ["ed_1"]
    client.close()


def test_a_script_that_an_asyncio_client_sent_to_the_old_primary(frail: Frail) -> None:
    """If the server does not know a script, a client for asyncio sends the script's text."""

    async def sent_elsewhere(text: str) -> str:
        return sha1(text.encode(), usedforsecurity=False).hexdigest()

    async def cancel() -> tuple[str, list[Message]]:
        client: Any = connect_on_loop(Settings.load(redis_url=frail.url))
        await client.script_flush()
        client.script_load = sent_elsewhere
        try:
            return await SharedJobStore(client, retention_s=RETENTION_S).cancel.awaited("ed_none")
        finally:
            await client.aclose()

    assert asyncio.run(cancel()) == ("unknown", [])


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])
