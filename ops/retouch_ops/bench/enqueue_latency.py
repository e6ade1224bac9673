"""Measures the time that one enqueue takes. During the measurement all slots are taken, so no message is sent."""

from __future__ import annotations

import time
from collections.abc import Callable

from retouch_ops.bench.baselines.celery_tutorial import TASK, make_tutorial_app
from retouch_ops.bench.figures import Row, Scale, percentile
from retouch_ops.bench.harness import Harness, edits

WARM = 50


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """Return the time and CPU time of single enqueues, and those of `send_task` in a Celery app as in tutorials."""
    count = 4_000 if scale == "full" else 400
    requests = iter(edits(count + WARM))
    with harness.queue() as queue:
        started_s = time.thread_time()
        ours = times_of(lambda: queue.enqueue(next(requests)), count, WARM)
        our_cpu_s = (time.thread_time() - started_s) / (count + WARM)
    harness.say("the tutorial's send_task")
    with make_tutorial_app(harness.redis_url) as app:
        started_s = time.thread_time()
        celery = times_of(lambda: app.send_task(TASK, args=(1, "http://127.0.0.1/", "none")), count, WARM)
        celery_cpu_s = (time.thread_time() - started_s) / (count + WARM)
    return [
        Row("enqueue p50, lane full", "ms", percentile(ours, 0.5) * 1e3, None, percentile(celery, 0.5) * 1e3, 0.25),
        Row("enqueue p99, lane full", "ms", percentile(ours, 0.99) * 1e3, None, percentile(celery, 0.99) * 1e3),
        Row("enqueue, CPU of the caller", "ms", our_cpu_s * 1e3, None, celery_cpu_s * 1e3),
    ]


def times_of(call: Callable[[], object], count: int, warm: int = 0) -> list[float]:
    """Return the seconds of each of `count` calls, made after `warm` calls that are not counted."""
    for _ in range(warm):
        call()
    times = []
    for _ in range(count):
        started_at = time.perf_counter()
        call()
        times.append(time.perf_counter() - started_at)
    return times
