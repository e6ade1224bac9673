"""How fast many jobs go in, and how much Redis memory each takes while it waits."""

from __future__ import annotations

import time

from retouch_ops.bench.baselines.celery_tutorial import TASK, make_tutorial_app
from retouch_ops.bench.figures import Row, Scale
from retouch_ops.bench.harness import PROMPT, Harness, edits

URL = "https://example.com/generations/b3341a09-082e-474e-989f-72ec3f3bf7aa-0.png"


def measure(rig: Harness, scale: Scale) -> list[Row]:
    """Put in by `enqueue_many`; the tutorial has a loop of `send_task`."""
    count, theirs = (60_000, 3_000) if scale == "full" else (6_000, 300)
    started_at = time.perf_counter()
    requests = edits(count)
    build_s = time.perf_counter() - started_at
    with rig.queue() as queue:
        queue.enqueue_many(requests[:500])  # scripts loaded, lane full
        before, started_at = memory(rig), time.perf_counter()
        queue.enqueue_many(requests[500:])
        spent_s = time.perf_counter() - started_at
    per_job = (memory(rig) - before) / (count - 500)
    rig.say("the tutorial's send_task")
    rate, their_bytes = _tutorial(rig, theirs)
    both = (count - 500) / (spent_s + build_s)
    return [
        Row("bulk enqueue", "jobs/s", (count - 500) / spent_s, None, rate, 30_000, more_is_better=True),
        Row("bulk enqueue with making the Edits", "jobs/s", both, None, rate, more_is_better=True),
        Row("Redis memory of a waiting job", "bytes", per_job, None, their_bytes, 700),
    ]


def memory(rig: Harness) -> float:
    """What Valkey holds for data, without buffers that come and go."""
    told = rig.client.info("memory")
    return float(told["used_memory"] - told["mem_clients_normal"] - told["mem_aof_buffer"])


def _tutorial(rig: Harness, count: int) -> tuple[float, float]:
    with make_tutorial_app(rig.redis_url) as app:
        app.send_task(TASK, args=(PROMPT, URL))
        before, started_at = memory(rig), time.perf_counter()
        for number in range(count):
            app.send_task(TASK, args=(f"{PROMPT} {number}", URL))
        spent_s = time.perf_counter() - started_at
        return count / spent_s, (memory(rig) - before) / count
