"""One fault at a time: a killed worker, a flushed broker, a dead Valkey, a frozen worker, a rolling restart."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from retouch import Edit, StoreUnavailable
from tests.chaos.stack import HELD_S, Stage, a_stage
from tests.process_watch import eventually
from tests.store_access import store_access

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]
LONG_S = 70.0
"""How long a worker may take on a busy machine, from its start until it has done all its jobs."""


def in_flight(stage: Stage, count: int) -> bool:
    return eventually(lambda: stage.simulator.books()["in_flight"] >= count)


def killed_with_calls_in_flight(stage: Stage, count: int) -> list[str]:
    """
    Enqueue jobs, kill the worker when all jobs are in flight and charged, and return their ids.

    The endpoint answers no call before the kill. So all calls are in flight together, even if a busy machine starts the
    last one late.
    """
    stage.hold_calls()
    jobs = stage.enqueue(count)
    worker = stage.worker(count + 10)
    assert eventually(lambda: sum(stage.charged()) == count, within_s=LONG_S)
    assert in_flight(stage, count)
    worker.kill()
    stage.release_calls()
    return jobs


@pytest.mark.parametrize("flush", [False, True], ids=["killed", "killed and flushed"])
def test_killed_worker_with_one_charge_allowed(tmp_path: Path, flush: bool) -> None:
    """`max_charges` is 1, and a worker is killed while 60 calls are in flight. Every job ends; none is POSTed twice."""
    with a_stage(tmp_path, latency_s=0.2, max_charges=1) as stage:
        jobs = killed_with_calls_in_flight(stage, 60)
        if flush:
            store_access(stage.queue).client.delete("rt:broker:edits", "rt:broker:deliveries")
        stage.worker(70)
        assert eventually(lambda: stage.all_final(jobs), within_s=LONG_S)
        assert stage.charged() == [1] * 60
        assert {record.error.code for record in stage.records(jobs) if record.error} == {"outcome_unknown"}
        assert eventually(lambda: len(stage.sink.events) >= 60)
        assert {event["data"]["job_id"] for event in stage.sink.events} == set(jobs)


def test_killed_worker_with_two_charges_allowed(tmp_path: Path) -> None:
    """`max_charges` is 2, and a worker is killed while 60 calls are in flight: every job succeeds with two charges."""
    with a_stage(tmp_path, latency_s=0.2, max_charges=2) as stage:
        jobs = killed_with_calls_in_flight(stage, 60)
        stage.worker(70)
        assert eventually(lambda: stage.all_final(jobs), within_s=LONG_S)
        assert {record.state for record in stage.records(jobs)} == {"succeeded"}
        assert stage.charged() == [2] * 60


def test_broker_lists_flushed_before_a_worker_came(tmp_path: Path) -> None:
    """If all messages are deleted before a worker starts, the store's jobs get new messages, and each job runs once."""
    with a_stage(tmp_path, latency_s=0.05) as stage:
        jobs = stage.enqueue(30)
        assert store_access(stage.queue).client.delete("rt:broker:edits") == 1
        stage.worker()
        assert eventually(lambda: stage.all_final(jobs))
        assert stage.charged() == [1] * 30


def test_valkey_killed_under_load(tmp_path: Path) -> None:
    """When Valkey is killed during 30 paid calls and restarted, the worker goes on, and nothing is paid twice."""
    with a_stage(tmp_path, latency_s=HELD_S, fsync="always", max_charges=1) as stage:
        stage.worker()
        jobs = stage.enqueue(30)
        assert in_flight(stage, 30)
        stage.restart_valkey(away_s=0.9, meanwhile=stage.release_calls)
        assert eventually(lambda: stage.all_final(jobs))
        assert {record.state for record in stage.records(jobs)} == {"succeeded"}
        assert stage.charged() == [1] * 30
        more = stage.enqueue(10)
        assert eventually(lambda: stage.all_final(more)), "the worker no longer consumes"
        assert stage.workers[0].poll() is None, "the worker died with its broker"
        assert eventually(lambda: len(stage.sink.events) >= 40)


def test_producer_while_valkey_is_away(tmp_path: Path) -> None:
    """While Redis is away, `enqueue` raises `StoreUnavailable`. Afterwards the same queue object works."""
    with a_stage(tmp_path, latency_s=0.05) as stage:
        process = stage.valkey._process
        assert process is not None
        process.kill()
        process.wait()
        with pytest.raises(StoreUnavailable, match="Repeating it is safe"):
            stage.queue.enqueue(Edit(prompt="winter", init_image="https://example.com/in.png"))
        stage.restart_valkey(away_s=0.0)
        assert stage.enqueue(1)


def test_frozen_worker_wakes_after_its_lease(tmp_path: Path) -> None:
    """
    The jobs of a frozen worker fail when its leases expire. Its late answers then make each job succeed with one POST.
    """
    with a_stage(tmp_path, latency_s=HELD_S, max_charges=1) as stage:
        jobs = stage.enqueue(5)
        frozen = stage.worker(8)
        assert in_flight(stage, 5)
        frozen.send_signal(signal.SIGSTOP)
        stage.release_calls()
        stage.worker(8)
        assert eventually(lambda: {record.state for record in stage.records(jobs)} == {"failed"})
        frozen.send_signal(signal.SIGCONT)
        assert eventually(lambda: {record.state for record in stage.records(jobs)} == {"succeeded"})
        assert stage.charged() == [1] * 5


def test_rolling_restart_under_load(tmp_path: Path) -> None:
    """
    On SIGTERM, a worker finishes its calls and exits. Another worker takes the other jobs, and nothing is paid twice.
    """
    with a_stage(tmp_path, latency_s=HELD_S, in_flight_limit=20, max_charges=1) as stage:
        jobs = stage.enqueue(60)
        old = stage.worker(20)
        assert in_flight(stage, 20)
        stage.worker(20)
        old.terminate()
        stage.release_calls()
        assert old.wait(60) == 0
        assert eventually(lambda: stage.all_final(jobs))
        assert {record.state for record in stage.records(jobs)} == {"succeeded"}
        assert stage.charged() == [1] * 60
