"""Measures how long an enqueue and the start of the next job take while the backlog grows."""

from __future__ import annotations

import time
from collections.abc import Iterator

from retouch import Edit, EditQueue
from retouch.outcomes import Cancel
from retouch.store.jobs import JobStore
from retouch.store.redis_client import connect
from retouch_ops.bench.enqueue_latency import times_of
from retouch_ops.bench.figures import Row, Scale, percentile
from retouch_ops.bench.harness import Harness, edits

SAMPLE, CHUNK, REWRITE_MOST_S = 300, 20_000, 30.0


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """
    Return the median time of an enqueue, and of a pickup, for each depth of the backlog.

    In a pickup, a worker settles one job and claims the next.
    """
    depths = (0, 1_000, 10_000, 100_000, 1_000_000) if scale == "full" else (0, 2_000, 20_000)
    rows, first_ms = [], None
    chunk = edits(CHUNK)
    with harness.queue() as queue:
        jobs = JobStore(connect(harness.settings()), retention_s=60.0)
        queue.enqueue_many(chunk[:5])
        for depth in depths:
            _fill(harness, queue, chunk, depth)
            _wait_for_rewrite(harness)
            enqueue_ms = percentile(_enqueue_times_s(queue), 0.5) * 1e3
            pickup_ms = percentile(list(_pickup_times_s(harness, jobs)), 0.5) * 1e3
            first_ms = first_ms or (enqueue_ms, pickup_ms)
            rows += [
                Row(
                    f"enqueue p50 at {depth:,} waiting",
                    "ms",
                    enqueue_ms,
                    note=f"{enqueue_ms / first_ms[0]:.2f} x the first",
                ),
                Row(
                    f"pickup p50 at {depth:,} waiting",
                    "ms",
                    pickup_ms,
                    note=f"{pickup_ms / first_ms[1]:.2f} x the first",
                ),
            ]
    return rows


def _fill(harness: Harness, queue: EditQueue, chunk: list[Edit], depth: int) -> None:
    while (missing := depth - queue.status().waiting) > 0:
        queue.enqueue_many(chunk[:missing])
        if depth > 5 * CHUNK and (depth - missing) % (10 * CHUNK) < CHUNK:
            harness.say(f"{depth - missing:,} of {depth:,} wait")


def _wait_for_rewrite(harness: Harness) -> None:
    """
    Wait, for at most 30 s, until Valkey has rewritten its append-only file.

    The rewrite uses a core and would disturb the measurement.
    """
    deadline_at = time.monotonic() + REWRITE_MOST_S
    while harness.client.info("persistence")["aof_rewrite_in_progress"] and time.monotonic() < deadline_at:
        time.sleep(0.1)


def _enqueue_times_s(queue: EditQueue) -> list[float]:
    fresh = iter(edits(SAMPLE))
    return times_of(lambda: queue.enqueue(next(fresh)), SAMPLE)


def _pickup_times_s(harness: Harness, jobs: JobStore) -> Iterator[float]:
    """Yield how many seconds one worker needs to settle a job and to claim the next job."""
    claim = jobs.claim(str(harness.client.zrange("rt:edits:slots", 0, 0)[0]), 60.0)
    for _ in range(SAMPLE):
        if claim is None:
            return
        started_at = time.perf_counter()
        messages = jobs.settle(claim, Cancel())
        claim = jobs.claim(messages[0][1], 60.0) if messages else None
        yield time.perf_counter() - started_at
