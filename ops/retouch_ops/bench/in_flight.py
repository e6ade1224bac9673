"""Hundreds of slow calls at once on two worker processes: wall time beside the ideal, and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retouch_ops.bench.baselines.celery_tutorial import TASK, make_tutorial_app
from retouch_ops.bench.child import MeasuredChild
from retouch_ops.bench.figures import Row, Scale, beside
from retouch_ops.bench.harness import Harness, edits

PROCESSES, SPARE_THREADS, SIDE, WAVES = 2, 16, 183, 3


@dataclass(frozen=True)
class Burst:
    """Seconds from the first enqueue to the last webhook, and the workers' memory at the end, in bytes."""

    wall_s: float
    rss_bytes: float
    pss_bytes: float


def measure(rig: Harness, scale: Scale) -> list[Row]:
    """Three waves of calls; the ideal is three times the latency, from the first enqueue to the last webhook."""
    at_once, latency_s = (500, 4.6) if scale == "full" else (60, 0.5)
    jobs, ideal_s = at_once * WAVES, latency_s * WAVES
    ours = _retouch(rig, jobs, at_once, latency_s)
    rig.say("no queue")
    plain = rig.run_no_queue(rig.stub(latency_s=latency_s, side=SIDE), jobs, at_once)
    rig.say("the tutorial's Celery")
    theirs = _tutorial(rig, jobs, at_once, latency_s)
    note = f"{jobs} jobs, {at_once} at once, {latency_s:g} s each, pictures of 100 kB, stub endpoint"
    walls = (ours.wall_s, plain.wall_s, theirs.wall_s)
    memory = (ours.rss_bytes, plain.rss_bytes, theirs.rss_bytes)
    return [
        beside(f"{at_once} in flight: wall over ideal", "x", walls, 1 / ideal_s, aim=1.10, note=note),
        beside(
            f"{at_once} in flight: memory of both workers",
            "MB",
            memory,
            1e-6,
            aim=200,
            note="no queue: one process, at its peak",
        ),
        Row("  of it, shared pages counted once", "MB", ours.pss_bytes / 1e6, None, theirs.pss_bytes / 1e6),
    ]


def _retouch(rig: Harness, jobs: int, at_once: int, latency_s: float) -> Burst:
    stub = rig.stub(latency_s=latency_s, side=SIDE)
    threads = at_once // PROCESSES + SPARE_THREADS
    workers = rig.workers(stub, processes=PROCESSES, threads=threads, in_flight_limit=at_once)
    with rig.queue(stub) as queue:
        requests = edits(jobs, stub)
        found = _timed(rig, stub, workers, jobs, lambda: queue.enqueue_many(requests, webhook=f"{stub}/hook"))
    rig.stop(workers)
    return found


def _tutorial(rig: Harness, jobs: int, at_once: int, latency_s: float) -> Burst:
    stub, folder = rig.stub(latency_s=latency_s, side=SIDE), str(rig.folder("tutorial"))
    workers = rig.tutorial_workers(processes=PROCESSES, threads=at_once // PROCESSES, pool="threads")
    with make_tutorial_app(rig.redis_url) as app:
        found = _timed(
            rig, stub, workers, jobs, lambda: [app.send_task(TASK, args=(n, stub, folder)) for n in range(jobs)]
        )
    rig.stop(workers)
    return found


def _timed(
    rig: Harness, stub: str, workers: Sequence[MeasuredChild], jobs: int, enqueue: Callable[[], object]
) -> Burst:
    started_at = time.monotonic()
    enqueue()
    spent_s = rig.wait_for_webhooks(stub, jobs) - started_at
    return Burst(spent_s, sum(one.rss_bytes() for one in workers), sum(one.pss_bytes() for one in workers))
