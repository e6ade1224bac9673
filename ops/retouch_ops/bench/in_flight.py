"""Measures the wall time and the memory of two worker processes with hundreds of slow calls at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retouch_ops.bench.baselines.celery_tutorial import TASK, make_tutorial_app
from retouch_ops.bench.child import MeasuredChild
from retouch_ops.bench.figures import Row, Scale, comparison
from retouch_ops.bench.harness import Harness, edits

PROCESSES, SPARE_THREADS, SIDE, ROUNDS = 2, 16, 183, 3


@dataclass(frozen=True)
class Burst:
    """Seconds from the first enqueue to the last webhook, and the memory of the workers at the end, in bytes."""

    wall_s: float
    rss_bytes: float
    pss_bytes: float


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """
    Return the wall time and the memory for three times as many jobs as slots.

    The wall time goes from the first enqueue to the last webhook. The figure is the wall time divided by the ideal,
    which is three latencies of the endpoint.
    """
    at_once, latency_s = (500, 4.6) if scale == "full" else (60, 0.5)
    jobs, ideal_s = at_once * ROUNDS, latency_s * ROUNDS
    ours = _retouch(harness, jobs, at_once, latency_s)
    harness.say("no queue")
    plain = harness.run_no_queue(harness.stub(latency_s=latency_s, side=SIDE), jobs, at_once)
    harness.say("the tutorial's Celery")
    celery = _tutorial(harness, jobs, at_once, latency_s)
    note = f"{jobs} jobs, {at_once} at once, {latency_s:g} s each, pictures of 100 kB, stub endpoint"
    walls = (ours.wall_s, plain.wall_s, celery.wall_s)
    memory = (ours.rss_bytes, plain.rss_bytes, celery.rss_bytes)
    return [
        comparison(f"{at_once} in flight: wall over ideal", "x", walls, 1 / ideal_s, aim=1.10, note=note),
        comparison(
            f"{at_once} in flight: memory of both workers",
            "MB",
            memory,
            1e-6,
            aim=200,
            note="no queue: one process, at its peak",
        ),
        Row("  of it, shared pages counted once", "MB", ours.pss_bytes / 1e6, None, celery.pss_bytes / 1e6),
    ]


def _retouch(harness: Harness, jobs: int, at_once: int, latency_s: float) -> Burst:
    stub = harness.stub(latency_s=latency_s, side=SIDE)
    threads = at_once // PROCESSES + SPARE_THREADS
    workers = harness.workers(stub, processes=PROCESSES, threads=threads, in_flight_limit=at_once)
    with harness.queue(stub) as queue:
        requests = edits(jobs, stub)
        burst = _timed(harness, stub, workers, jobs, lambda: queue.enqueue_many(requests, webhook=f"{stub}/hook"))
    harness.stop(workers)
    return burst


def _tutorial(harness: Harness, jobs: int, at_once: int, latency_s: float) -> Burst:
    stub, folder = harness.stub(latency_s=latency_s, side=SIDE), str(harness.folder("tutorial"))
    workers = harness.tutorial_workers(processes=PROCESSES, threads=at_once // PROCESSES, pool="threads")
    with make_tutorial_app(harness.redis_url) as app:
        burst = _timed(
            harness,
            stub,
            workers,
            jobs,
            lambda: [app.send_task(TASK, args=(number, stub, folder)) for number in range(jobs)],
        )
    harness.stop(workers)
    return burst


def _timed(
    harness: Harness, stub: str, workers: Sequence[MeasuredChild], jobs: int, enqueue: Callable[[], object]
) -> Burst:
    started_at = time.monotonic()
    enqueue()
    spent_s = harness.wait_for_webhooks(stub, jobs) - started_at
    return Burst(spent_s, sum(one.rss_bytes() for one in workers), sum(one.pss_bytes() for one in workers))
