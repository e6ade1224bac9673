"""
Kills worker, gateway and Redis, then compares all screens: `python -m tests.chaos.kills_and_screens --rounds 10`.

A customer enqueues jobs over HTTP, and repeats each request until the gateway accepts it. The endpoint loses some
answers. Each round kills the worker, the gateway and Redis with SIGKILL, in random order and at random moments. Each
killed process is started again. After the last round, every job must end. All screens must then show the numbers of the
simulator's books.

Redis syncs each write to its disk. With `everysec`, Redis could lose jobs that the gateway has accepted.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from retouch.store.ledger import CLASSES
from retouch.store.records import JobRecord
from retouch.store.tenants import TenantStore
from tests.chaos.screens import Facts, Screens
from tests.chaos.stack import Stage, a_stage, environment_of
from tests.free_ports import free_port
from tests.process_watch import Spoken, eventually
from tests.store_access import store_access

TENANTS = ("ann", "bob")
VICTIMS = ("worker", "gateway", "redis")
# Each of these is charged: what is free at the endpoint while nobody reads the answer cannot be known afterwards.
FAULTS = {"html_502": 0.08, "reset_after_work": 0.08, "processing": 0.1, "flagged": 0.05}
APART_S, AWAY_S, ORDER_EVERY_S = (0.3, 1.2), 0.3, 0.05
CALLS_MOST, WITHIN_S = 2, 180.0


class Customer(threading.Thread):
    """
    A thread that enqueues jobs over HTTP until it is stopped.

    Each request is repeated, with the same idempotency key, until the gateway accepts it.
    """

    def __init__(self, url: str, secrets: dict[str, str], stage: Stage) -> None:
        super().__init__(daemon=True)
        self._url, self._secrets, self._stage = url, secrets, stage
        self._enough = threading.Event()
        self.jobs: list[str] = []

    def run(self) -> None:
        """Send one request after another, until `stop` is called."""
        with httpx.Client(base_url=self._url, timeout=5, trust_env=False) as api:
            while not self._enough.is_set():
                self.jobs.append(self._enqueue(api, len(self.jobs)))
                self._enough.wait(ORDER_EVERY_S)

    def stop(self) -> list[str]:
        """Stop after the request that is being sent, and return the ids of all jobs."""
        self._enough.set()
        self.join(WITHIN_S)
        assert not self.is_alive(), "a request was never accepted"
        return self.jobs

    def _enqueue(self, api: httpx.Client, number: int) -> str:
        picture = f"{self._stage.simulator.url}/samples/portrait.jpg"
        body = {"prompt": f"winter [[{number}]]", "init_image": picture, "tags": {"order": str(number % 5)}}
        secret = self._secrets[TENANTS[number % len(TENANTS)]]
        headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": f"order-{number}"}
        while True:
            try:
                answer = api.post("/v1/edits", json=body, headers=headers)
                if answer.status_code in (200, 202):
                    return str(answer.json()["id"])
                assert answer.status_code >= 500, answer.text
            except httpx.TransportError:
                pass
            time.sleep(0.1)


@dataclass
class Run:
    """A stack whose worker, gateway and Redis are killed and started again."""

    stage: Stage
    rng: random.Random
    port: int = field(default_factory=free_port)
    gateway: Spoken | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        self.start_gateway()
        self.stage.worker(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start_gateway(self) -> None:
        """Start a gateway on the port that every gateway of this run has, and wait until it listens."""
        environment = {**environment_of(self.stage.settings), "RETOUCH_GATEWAY_PORT": str(self.port)}
        command = [sys.executable, "-m", "retouch_producer.gateway"]
        self.gateway = self._stack.enter_context(Spoken(command, environment=environment))
        self.gateway.wait_for("Uvicorn running on", WITHIN_S)

    def kill(self, victim: str) -> None:
        """Kill the worker, the gateway or Redis with SIGKILL, and start it again."""
        if victim == "redis":
            self.stage.restart_valkey(AWAY_S)
        elif victim == "worker":
            self.stage.workers[-1].kill()
            self.stage.workers[-1].wait()
            self.stage.worker(20)
        elif self.gateway:
            self.gateway.process.kill()
            self.gateway.process.wait()
            self.start_gateway()

    def go(self, rounds: int) -> list[str]:
        """
        Kill each process once in each round while jobs are enqueued. Wait until all jobs have ended, and return their
        ids.
        """
        client = store_access(self.stage.queue).client
        secrets = {tenant: TenantStore(client).create_key(tenant)[1] for tenant in TENANTS}
        customer = Customer(self.url, secrets, self.stage)
        customer.start()
        assert eventually(lambda: self.stage.simulator.books()["in_flight"] > 2)
        for _ in range(rounds):
            for victim in self.rng.sample(VICTIMS, len(VICTIMS)):
                time.sleep(self.rng.uniform(*APART_S))
                self.kill(victim)
        jobs = customer.stop()
        assert eventually(lambda: self.stage.all_final(jobs), WITHIN_S), "not every job ended"
        return jobs

    def screens(self) -> dict[str, Facts]:
        """Return the facts that each screen shows, by the screen's name."""
        secret = TenantStore(store_access(self.stage.queue).client).create_key("staff", "ops")[1]
        return Screens(self.url, secret, environment_of(self.stage.settings), TENANTS).all()


def differences(run: Run, jobs: list[str]) -> list[str]:
    """Return a line for each number that differs between the records, the simulator's books and the screens."""
    records, books = run.stage.records(jobs), run.stage.simulator.books()
    expected = facts_on_record(records)
    found = [] if len(set(jobs)) == len(jobs) == len(records) else [f"{len(records)} records of {len(jobs)} jobs"]
    found += [fault for number, one in enumerate(records) if (fault := _differs(one, books["by_tag"].get(str(number))))]
    unsent = expected["posts"] - books["posts"]
    paid = sum(expected[use] for use in CLASSES)
    # A POST whose worker died between its record and its sending counts as one that may have been billed.
    if books["charged"] != paid - unsent:
        found.append(f"charged {books['charged']} times; on record {paid}, of which {unsent} were never sent")
    for name, facts in run.screens().items():
        found += [
            f"{name}: {fact} is {facts[fact]}, not {expected[fact]}" for fact in facts if facts[fact] != expected[fact]
        ]
    return found


def facts_on_record(records: list[JobRecord]) -> Counter[str]:
    """Return the counts of jobs and calls that follow from the records of the jobs."""
    facts = Counter[str](enqueued=len(records))
    for record in records:
        facts[record.state] += 1
        facts["posts"] += len(record.charges)
        certain = sum(charge.certain for charge in record.charges)
        facts["unknown"] += sum(charge.possible for charge in record.charges) - certain
        useful = min(certain, record.state == "succeeded")
        facts["useful"] += useful
        facts["repeated" if useful else "wasted"] += certain - useful
    return facts


def _differs(record: JobRecord, entry: dict[str, Any] | None) -> str:
    """Return a line if a job's record disagrees with the job's entry in the books, else an empty string."""
    posts, charged = (entry["posts"], entry["charged"]) if entry else (0, 0)
    possible = sum(charge.possible for charge in record.charges)
    certain = sum(charge.certain for charge in record.charges)
    if posts <= len(record.charges) and certain <= charged <= possible <= CALLS_MOST:
        return ""
    return f"{record.id}: {posts} POSTs, {charged} charged; on record {len(record.charges)}, {certain} to {possible}"


def run_rounds(folder: Path, rounds: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Run the rounds. Return the counts of the records, and a line for each difference."""
    with (
        a_stage(folder, latency_s=0.3, fsync="always", in_flight_limit=12, max_charges=CALLS_MOST) as stage,
        Run(stage, random.Random(seed)) as run,
    ):
        stage.simulator.settings(spam_filter_s=0.0, processing_s=0.2)
        stage.simulator.faults(rates=FAULTS, seed=seed, next=[{"output_kind": "bomb", "times": 3}])
        jobs = run.go(rounds)
        return facts_on_record(stage.records(jobs)), differences(run, jobs)


def main() -> None:
    """Run the rounds and print the counts and the differences. Exit with 1 if there is a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        facts, found = run_rounds(Path(folder), options.rounds, options.seed)
    sys.stdout.write(f"seed {options.seed}, {options.rounds} rounds: {dict(facts)}\ndiffers: {found}\n")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
