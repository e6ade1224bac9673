"""Redis refuses writes under load (out of memory, no replicas, a full disk), also while a worker drains."""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import redis

from retouch import Settings
from retouch.store.jobs import JobStore
from retouch.store.redis_client import connect
from tests.chaos.stack import HELD_S, Stage, a_stage, proxied, start_valkey
from tests.chaos.test_machine_faults import Disk, a_disk
from tests.free_ports import free_port
from tests.process_watch import eventually
from tests.store_access import store_access

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]


@contextmanager
def refusing(stage: Stage, disk: Disk, fault: str) -> Iterator[None]:
    """Context manager that makes Redis refuse writes during the block."""
    client = store_access(stage.queue).client
    if fault == "MISCONF" and disk.mounted:
        disk.break_with(errno.ENOSPC)
        assert eventually(lambda: refuses(client))
        yield
        disk.mend()
    elif fault == "MISCONF":  # no disk may be mounted here: a dump that fails, for its folder is gone
        shutil.rmtree(disk.folder)
        client.config_set("save", "3600 1")
        client.bgsave()
        assert eventually(lambda: refuses(client))
        yield
        client.config_set("save", "")
    else:
        name = {"OOM": "maxmemory", "NOREPLICAS": "min-replicas-to-write"}[fault]
        client.config_set(name, 1)
        yield
        client.config_set(name, 0)


def refuses(client: Any) -> bool:
    """Return whether Redis refuses a write of 4 kB now. On a full disk, a smaller write may still fit."""
    try:
        client.set("probe", "x" * 4_096)
    except redis.ResponseError:
        return True
    return False


def logged(stage: Stage, event: str) -> list[dict[str, Any]]:
    """Return the lines with this event in the log of all workers."""
    lines = (stage.folder / "workers.log").read_text(errors="replace").splitlines()
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [one for one in entries if one["event"] == event]


@contextmanager
def a_paid_round(folder: Path, **settings: Any) -> Iterator[tuple[Stage, Disk, list[str]]]:
    """
    Context manager that starts Redis on a disk of its own, and a worker. It yields (stage, disk, jobs).

    `jobs` are four jobs with `max_charges` 1. Their calls stay in flight until `release_calls`.
    """
    common = {"latency_s": HELD_S, "max_charges": 1, "in_flight_limit": 20, "log_format": "json"}
    with a_disk(folder / "valkey") as disk, a_stage(folder, **{**common, **settings}) as stage:
        stage.worker(20)
        jobs = stage.enqueue(4)
        assert eventually(lambda: in_flight(stage) == 4)
        yield stage, disk, jobs


def in_flight(stage: Stage) -> int:
    return int(stage.simulator.books(totals=True)["in_flight"])


def over(wait_s: float) -> Callable[[], bool]:
    until = time.monotonic() + wait_s
    return lambda: time.monotonic() > until


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("OOM", "Redis is out of memory"),
        ("NOREPLICAS", "Redis has too few replicas to take writes"),
        ("MISCONF", "Redis cannot write to its disk"),
    ],
)
def test_paid_answers_are_held_while_redis_refuses_writes(tmp_path: Path, fault: str, reason: str) -> None:
    """
    When Redis refuses writes for longer than a lease, the worker logs the reason, and stores every paid image later.
    """
    with a_paid_round(tmp_path) as (stage, disk, jobs):
        with refusing(stage, disk, fault):
            stage.release_calls()
            assert eventually(lambda: in_flight(stage) == 0)
            assert eventually(over(stage.settings.lease_s))
            assert eventually(lambda: reason in {entry["reason"] for entry in logged(stage, "store_away")})
            assert not stage.all_final(jobs)
        assert eventually(lambda: stage.all_final(jobs))
        assert {record.state for record in stage.records(jobs)} == {"succeeded"}
        assert stage.charged() == [1] * 4
        more = stage.enqueue(4)
        assert eventually(lambda: stage.all_final(more)), "the worker no longer consumes"
        assert stage.workers[0].poll() is None


def test_failover_under_load(tmp_path: Path) -> None:
    """
    If a replica becomes the primary during calls, the worker connects to the new primary, and nothing is paid twice.
    """
    with (
        a_stage(tmp_path, latency_s=HELD_S, max_charges=1, in_flight_limit=20) as stage,
        proxied(stage) as (to_redis, _),
        ExitStack() as stack,
    ):
        later = start_valkey(tmp_path / "later", free_port())
        stack.callback(later.stop)
        old = store_access(stage.queue).client
        new: Any = connect(Settings.load(redis_url=f"redis://127.0.0.1:{later.port}/0"))
        new.replicaof("127.0.0.1", stage.valkey.port)
        assert eventually(lambda: new.info("replication").get("master_link_status") == "up")
        stage.worker(20)
        jobs = stage.enqueue(4)
        assert eventually(lambda: in_flight(stage) == 4)
        new.replicaof("NO", "ONE")
        to_redis.lead_to(later.port)
        old.replicaof("127.0.0.1", later.port)
        stage.release_calls()
        after = JobStore(new, retention_s=3_600.0)
        assert eventually(lambda: {record.state for record in after.records(jobs)} == {"succeeded"})
        assert stage.charged() == [1] * 4
        assert eventually(lambda: len(stage.sink.events) >= 4), "the worker no longer consumes"
        assert stage.workers[0].poll() is None


@pytest.mark.parametrize("fault", ["OOM", "away"])
def test_a_worker_that_must_leave_says_what_it_gives_up(tmp_path: Path, fault: str) -> None:
    """When a worker must stop while Redis takes no writes, the worker logs each job that it gives up, and exits."""
    with a_paid_round(tmp_path, pix2pix_timeout_s=8.0) as (stage, disk, jobs):
        if fault == "away":
            process = stage.valkey._process
            assert process is not None
            process.kill()
            process.wait()
        with refusing(stage, disk, "OOM") if fault == "OOM" else nullcontext():
            stage.release_calls()
            assert eventually(lambda: in_flight(stage) == 0)
            stage.workers[0].terminate()
            assert stage.workers[0].wait(30) == 0
        assert {entry["item"] for entry in logged(stage, "attempt_given_up")} == set(jobs)
        reasons = {entry["reason"] for entry in logged(stage, "attempt_given_up")}
        assert reasons == {"Redis is out of memory" if fault == "OOM" else "Redis does not answer"}
