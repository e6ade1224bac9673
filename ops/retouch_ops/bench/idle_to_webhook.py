"""Measures the time from an enqueue to the arrival of the job's webhook, on an idle machine with a fast endpoint."""

from __future__ import annotations

import time
from collections.abc import Callable

from retouch_ops.bench.baselines.celery_tutorial import TASK, make_tutorial_app
from retouch_ops.bench.figures import Row, Scale, comparison, percentile
from retouch_ops.bench.harness import Harness, edits

WARM, PAUSE_S = 10, 0.02


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """Return the times of jobs that run one after the other, with pauses. The pictures have 64 x 64 pixels."""
    count = 400 if scale == "full" else 40
    ours = _retouch(harness, count)
    harness.say("no queue")
    plain = harness.run_no_queue(harness.stub(), count, 1).latencies_s
    harness.say("the tutorial's Celery")
    celery = _tutorial(harness, count)
    middle, slow = ([percentile(times, share) for times in (ours, plain, celery)] for share in (0.5, 0.99))
    return [
        comparison("idle to webhook p50", "ms", middle, 1e3, aim=8.0, note="stub endpoint"),
        comparison("idle to webhook p99", "ms", slow, 1e3),
    ]


def _retouch(harness: Harness, count: int) -> list[float]:
    stub = harness.stub()
    workers = harness.workers(stub, processes=1, threads=16, in_flight_limit=10)
    requests = iter(edits(count + WARM, stub))
    with harness.queue(stub) as queue:
        times = _one_by_one(harness, stub, count, lambda _: queue.enqueue(next(requests), webhook=f"{stub}/hook"))
    harness.stop(workers)
    return times


def _tutorial(harness: Harness, count: int) -> list[float]:
    stub, folder = harness.stub(), str(harness.folder("tutorial"))
    workers = harness.tutorial_workers(processes=1, threads=16, pool="threads")
    with make_tutorial_app(harness.redis_url) as app:
        times = _one_by_one(harness, stub, count, lambda number: app.send_task(TASK, args=(number, stub, folder)))
    harness.stop(workers)
    return times


def _one_by_one(harness: Harness, stub: str, count: int, enqueue: Callable[[int], object]) -> list[float]:
    times = []
    for number in range(1, count + WARM + 1):
        time.sleep(PAUSE_S)
        started_at = time.monotonic()
        enqueue(number)
        times.append(harness.wait_for_webhooks(stub, number) - started_at)
    return times[WARM:]
