"""Measures how fast many jobs are enqueued at once, and how much Redis memory each job needs while it waits."""

from __future__ import annotations

import time

from retouch_ops.bench.baselines.celery_tutorial import TASK, make_tutorial_app
from retouch_ops.bench.figures import Row, Scale
from retouch_ops.bench.harness import PROMPT, Harness, edits

URL = "https://example.com/generations/b3341a09-082e-474e-989f-72ec3f3bf7aa-0.png"


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """Return the rate of `enqueue_many` and the Redis memory of a waiting job, compared with `send_task` of Celery."""
    count, celery_count = (60_000, 3_000) if scale == "full" else (6_000, 300)
    started_at = time.perf_counter()
    requests = edits(count)
    build_s = time.perf_counter() - started_at
    with harness.queue() as queue:
        queue.enqueue_many(requests[:500])  # loads the scripts and fills the lane
        before, started_at = memory(harness), time.perf_counter()
        queue.enqueue_many(requests[500:])
        spent_s = time.perf_counter() - started_at
    per_job = (memory(harness) - before) / (count - 500)
    harness.say("the tutorial's send_task")
    rate, celery_bytes = _tutorial(harness, celery_count)
    whole_rate = (count - 500) / (spent_s + build_s)
    return [
        Row("bulk enqueue", "jobs/s", (count - 500) / spent_s, None, rate, 30_000, more_is_better=True),
        Row("bulk enqueue with making the Edits", "jobs/s", whole_rate, None, rate, more_is_better=True),
        Row("Redis memory of a waiting job", "bytes", per_job, None, celery_bytes, 700),
    ]


def memory(harness: Harness) -> float:
    """Return the bytes of data in Valkey. The buffers of clients and of the append-only file do not count."""
    info = harness.client.info("memory")
    return float(info["used_memory"] - info["mem_clients_normal"] - info["mem_aof_buffer"])


def _tutorial(harness: Harness, count: int) -> tuple[float, float]:
    with make_tutorial_app(harness.redis_url) as app:
        app.send_task(TASK, args=(PROMPT, URL))
        before, started_at = memory(harness), time.perf_counter()
        for number in range(count):
            app.send_task(TASK, args=(f"{PROMPT} {number}", URL))
        spent_s = time.perf_counter() - started_at
        return count / spent_s, (memory(harness) - before) / count
