"""
A soak test at full rate, in which 5 % of the endpoint's answers are random faults.

`python -m tests.chaos.soak --minutes 10` runs two workers, the simulator, and a Valkey with an append-only file. All
slots are always full, so the rate should stay the same. During the run, the memory of the workers and of the store is
sampled. After the run, the test counts the slots, messages, keys and files that should be gone. Records are stored for
half a minute only, so that the store soon stops growing.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from retouch import Edit
from retouch.store import keys
from retouch.store.ledger import Ledger
from tests.chaos.stack import Stage, a_stage
from tests.conftest import leaked_keys
from tests.process_watch import eventually
from tests.store_access import store_access

FAULTS = {
    "failed": 0.01,
    "error_503": 0.01,
    "html_502": 0.005,
    "reset_after_work": 0.005,
    "unparseable": 0.005,
    "queue_full": 0.005,
    "processing_failed": 0.005,
    "flagged": 0.005,
}
IN_FLIGHT, LATENCY_S = 24, 0.8  # some 28 jobs a second, about half of what two cores do
RETENTION_S, DEADLINE_S, SAMPLE_S = 30.0, 120.0, 2.0
GROWTH_MOST = 1.05  # of the second third
MEGABYTE = 1e6


@dataclass
class Samples:
    """The measurements of a run; each list has one entry for each sample."""

    workers: list[float] = field(default_factory=list)
    store: list[float] = field(default_factory=list)
    kept: list[float] = field(default_factory=list)
    keys: list[float] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def take(self, stage: Stage) -> None:
        """
        Add a sample of the stage.

        `workers` is the memory of all workers. `kept` is the memory of the feed and of the list of images, and `store`
        is the memory of the rest of the store. All three are in bytes. `done` is the number of jobs that have ended.
        """
        client = store_access(stage.queue).client
        kept = sum(float(client.memory_usage(name, samples=50) or 0) for name in (keys.FEED, keys.KEPT))
        self.workers.append(sum(resident_bytes(worker.pid) for worker in stage.workers))
        self.store.append(float(client.info("memory")["used_memory"]) - kept)
        self.kept.append(kept)
        self.keys.append(float(client.dbsize()))
        self.at.append(time.monotonic())
        self.done.append(sum(int(ended) for ended in client.hvals("rt:edits:counts")))

    def rates(self) -> list[float]:
        """Return the jobs per second between each sample and the next."""
        pairs = zip(pairwise(self.done), pairwise(self.at), strict=True)
        return [(done - before) / (at - at_before) for (before, done), (at_before, at) in pairs]


def resident_bytes(pid: int) -> float:
    """Return the resident memory of a process in bytes, as the system counts it."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024.0


def thirds(samples: list[float]) -> tuple[float, float, float]:
    """Return the mean of each third of the samples."""
    third = max(1, len(samples) // 3)
    return fmean(samples[:third]), fmean(samples[third : 2 * third]), fmean(samples[-third:])


@dataclass
class Left:
    """
    The counts of things that a run may leave behind.

    `held` counts groups that hold slots, and `waiting` counts items in the timetables. `keys` counts keys without
    expiry that should have one. `partial_files` and `unrecorded_files` count files that nobody deletes.
    """

    slots: int
    held: int
    waiting: int
    keys: int
    records: int
    messages: int
    partial_files: int
    unrecorded_files: int

    @classmethod
    def count(cls, stage: Stage) -> Left:
        """Return the counts of a stage at this moment."""
        client = store_access(stage.queue).client
        blobs = stage.folder / "blobs"
        files = {f"{path.parent.name}/{path.name}" for path in blobs.glob("??/*")}
        lanes = ("edits", "deliveries")
        return cls(
            slots=sum(client.zcard(f"rt:{lane}:slots") for lane in lanes),
            held=sum(client.hlen(f"rt:{lane}:held") for lane in lanes),
            waiting=sum(client.zcard(f"rt:{lane}:timetable") for lane in lanes),
            keys=len(leaked_keys(client)),
            records=sum(1 for _ in client.scan_iter("rt:edits:spec:*", count=1_000)),
            messages=sum(client.llen(f"rt:broker:{lane}") for lane in lanes),
            partial_files=sum(1 for _ in blobs.glob(".partial/*")),
            unrecorded_files=len(files - set(client.zrange(keys.KEPT, 0, -1))),
        )


@contextmanager
def soaking(folder: Path, seed: int) -> Iterator[Stage]:
    """Context manager that starts two workers and an endpoint that fails in 5 of 100 calls, and yields the stage."""
    settings: dict[str, Any] = {"retention_s": RETENTION_S, "deadline_s": DEADLINE_S, "log_level": "ERROR"}
    with a_stage(folder, latency_s=LATENCY_S, in_flight_limit=IN_FLIGHT, max_attempts=20, **settings) as stage:
        stage.simulator.settings(processing_share=0.1, processing_s=0.3, retry_after_s=1.0)
        stage.simulator.faults(rates=FAULTS, seed=seed)
        for _ in range(2):
            stage.worker(IN_FLIGHT)
        yield stage


def pour(stage: Stage, numbers: Iterator[int], rng: random.Random) -> int:
    """Enqueue 100 jobs if at most 100 jobs wait. Return the number of jobs that were enqueued."""
    if stage.queue.status().waiting > 100:
        return 0
    link = stage.simulator.portrait_url
    edits = [Edit(prompt=f"winter [[{next(numbers)}]]", init_image=link) for _ in range(100)]
    return len(stage.queue.enqueue_many(edits, tenant=rng.choice(["ann", "bob", "cy"]), tags={"kind": "soak"}))


def soak(stage: Stage, minutes: float, seed: int) -> tuple[int, Samples]:
    """Keep the backlog full for `minutes` minutes. Return the number of jobs and the samples."""
    samples, rng, numbers = Samples(), random.Random(seed), count()
    jobs, started = 0, time.monotonic()
    sampled_at = started
    while time.monotonic() - started < minutes * 60:
        jobs += pour(stage, numbers, rng)
        if time.monotonic() - sampled_at >= SAMPLE_S:
            sampled_at = time.monotonic()
            samples.take(stage)
        time.sleep(0.1)
    return jobs, samples


def ended(stage: Stage) -> int:
    """Return how many jobs have ended."""
    return sum(int(number) for number in store_access(stage.queue).client.hvals("rt:edits:counts"))


def report(stage: Stage, jobs: int, samples: Samples, before: Left, after: Left) -> tuple[str, list[str]]:
    """Return the tables, and a line for each thing that is wrong."""
    client = store_access(stage.queue).client
    states = client.hgetall("rt:edits:counts")
    rows = Ledger(client).usage(by="tag")
    booked = sum(row.useful + row.repeated + row.wasted + row.unknown for row in rows)
    split = {kind: sum(getattr(row, kind) for row in rows) for kind in ("useful", "repeated", "wasted", "unknown")}
    charged = stage.simulator.books(totals=True)["charged"]
    rows_of: list[tuple[str, list[float], float]] = [
        ("two workers, resident, MB", samples.workers, MEGABYTE),
        ("store, without the next line, MB", samples.store, MEGABYTE),
        ("feed (30 days), list of images (an hour), MB", samples.kept, MEGABYTE),
        ("keys of the store", samples.keys, 1.0),
        ("jobs a second", samples.rates(), 1.0),
    ]
    lines = ["| | first third | second third | last third |", "|---|---|---|---|"]
    broken = []
    for name, values, unit in rows_of:
        first, second, last = (value / unit for value in thirds(values))
        lines.append(f"| {name} | {first:,.1f} | {second:,.1f} | {last:,.1f} |")
        if (values is samples.workers or values is samples.store) and last > second * GROWTH_MOST:
            broken.append(f"{name} grew from {second:.1f} to {last:.1f}")
    lines += ["", "| left behind | before | after |", "|---|---|---|"]
    lines += [f"| {name} | {getattr(before, name)} | {getattr(after, name)} |" for name in Left.__dataclass_fields__]
    broken += [f"{name}: {value} left behind" for name, value in vars(after).items() if value]
    if sum(map(int, states.values())) != jobs:
        broken.append(f"{jobs} jobs went in, {states} ended")
    if charged > booked:
        broken.append(f"the simulator charged {charged}, the ledger holds {booked}")
    facts = f"{jobs} jobs; ended: {states}; simulator charged {charged}; {split}"
    return "\n".join([*lines, "", facts]), broken


def settled(stage: Stage, jobs: int) -> Callable[[], bool]:
    """Return a function that checks whether every job has ended and every record of a job is gone."""
    return lambda: ended(stage) >= jobs and Left.count(stage).records == 0


def main() -> None:
    """Run the soak test and print the tables; exit with 1 if `report` finds a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, soaking(Path(folder), options.seed) as stage:
        before = Left.count(stage)
        jobs, samples = soak(stage, options.minutes, options.seed)
        eventually(settled(stage, jobs), within_s=DEADLINE_S + RETENTION_S)
        tables, broken = report(stage, jobs, samples, before, Left.count(stage))
    sys.stdout.write(f"{options.minutes:g} minutes, seed {options.seed}\n\n{tables}\nbroken: {broken}\n")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
