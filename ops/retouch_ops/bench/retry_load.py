"""
Measures how much worker memory a waiting retry needs. In Retouch, waiting retries are in the store and not in a worker.
"""

from __future__ import annotations

import time

from retouch_ops.bench.baselines.celery_tutorial import TASK, make_tutorial_app
from retouch_ops.bench.child import NotMeasured
from retouch_ops.bench.figures import Row, Scale
from retouch_ops.bench.harness import Harness, edits

HOUR_S, WAIT_AT_MOST_S = 3_600.0, 120.0
BROKER_LISTS = ("rt:broker:edits", "rt:broker:deliveries", "rt:broker:unacked")


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """
    Return by how many kB the memory of the workers grows for each waiting retry.

    The first attempt of each job fails, and the second is due an hour later. In the tutorial's Celery, a retry waits by
    its `countdown`.
    """
    count, warm = (10_000, 1_000) if scale == "full" else (300, 100)
    ours, left = _retouch(harness, count, warm)
    harness.say("the tutorial's Celery")
    celery = _tutorial(harness, count)
    note = f"by {ours:+.1f} MB and {celery:+.1f} MB; messages left in the broker: {left}"
    what = f"memory growth for each of {count:,} waiting retries"
    return [Row(what, "kB", ours * 1e3 / count, None, celery * 1e3 / count, note=note)]


def _retouch(harness: Harness, count: int, warm: int) -> tuple[float, int]:
    stub = harness.stub(kind="failed")
    workers = harness.workers(
        stub, processes=1, threads=32, in_flight_limit=24, backoff_base_s=HOUR_S, backoff_cap_s=2 * HOUR_S
    )
    with harness.queue(stub) as queue:
        requests = edits(count + warm, stub)
        queue.enqueue_many(requests[:warm])
        _until_parked(harness, warm)
        before = workers[0].rss_bytes()
        queue.enqueue_many(requests[warm:])
        _until_parked(harness, count + warm)
    growth_mb = (workers[0].rss_bytes() - before) / 1e6
    left = sum(_length(harness, name) for name in BROKER_LISTS)
    harness.stop(workers)
    return growth_mb, left


def _length(harness: Harness, name: str) -> int:
    kind = harness.client.type(name)
    return int(harness.client.llen(name) if kind == "list" else harness.client.hlen(name) if kind == "hash" else 0)


def _until_parked(harness: Harness, count: int) -> None:
    deadline_at = time.monotonic() + WAIT_AT_MOST_S
    while (parked := harness.client.zcard("rt:edits:timetable")) < count:
        if time.monotonic() > deadline_at:
            raise NotMeasured(f"only {parked} of {count} retries were waiting after {WAIT_AT_MOST_S:g} s")
        time.sleep(0.1)


def _tutorial(harness: Harness, count: int) -> float:
    workers = harness.tutorial_workers(processes=1, threads=32, pool="threads")
    before = workers[0].rss_bytes()
    with make_tutorial_app(harness.redis_url) as app:
        for number in range(count):
            app.send_task(TASK, args=(number, "http://127.0.0.1:1", "none"), countdown=HOUR_S)
    deadline_at = time.monotonic() + WAIT_AT_MOST_S
    while harness.client.llen("celery") and time.monotonic() < deadline_at:
        time.sleep(0.1)
    growth_mb = (workers[0].rss_bytes() - before) / 1e6
    harness.stop(workers)
    return growth_mb
