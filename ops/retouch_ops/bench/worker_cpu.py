"""Measures the CPU time that workers use per job, in total and by kind of work."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from retouch.images.validation import check
from retouch_ops.bench.baselines.celery_tutorial import TASK, make_tutorial_app
from retouch_ops.bench.child import MeasuredChild
from retouch_ops.bench.endpoint_stub import picture
from retouch_ops.bench.figures import Row, Scale, comparison
from retouch_ops.bench.harness import Harness, edits

PROCESSES, THREADS, LATENCY_S, SIDE = 2, 40, 0.3, 183


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """
    Return the workers' CPU seconds for 1,000 jobs, without the check of the pictures. The check has a row of its own.
    """
    jobs = 1_000 if scale == "full" else 150
    ours, sections = _retouch(harness, jobs)
    harness.say("no queue")
    plain = harness.run_no_queue(harness.stub(latency_s=LATENCY_S, side=SIDE), jobs, 2 * THREADS).cpu_s / jobs
    celery = {}
    for pool, threads in (("threads", THREADS), ("prefork", 8))[: 2 if scale == "full" else 1]:
        harness.say(f"the tutorial's Celery, {pool}")
        celery[pool] = _tutorial(harness, jobs, pool, threads)
    check_s, others = check_cpu_s(), [(pool, spent_s) for pool, spent_s in celery.items() if pool != "threads"]
    note = f"{jobs} jobs of 100 kB, webhooks, events on; stub endpoint; Celery: threads (no picture check, no records)"
    ours -= check_s
    return [
        comparison("worker CPU for 1,000 jobs", "s", (ours, plain, celery["threads"]), 1e3, aim=3.3, note=note),
        *(comparison(f"the same, Celery with {pool}", "s", (ours, plain, spent_s), 1e3) for pool, spent_s in others),
        Row("picture check for 1,000 jobs", "s", check_s * 1e3, note="counted apart"),
        *(Row(f"  of it: {name}", "s", spent_s * 1e3) for name, spent_s in sorted(sections.items())),
    ]


def check_cpu_s() -> float:
    """Return the median CPU seconds of 30 checks of the picture."""
    data, times = picture(SIDE), []
    for _ in range(30):
        started_at = time.thread_time()
        check(data)
        times.append(time.thread_time() - started_at)
    return sorted(times)[len(times) // 2]


def _retouch(harness: Harness, jobs: int) -> tuple[float, dict[str, float]]:
    stub = harness.stub(latency_s=LATENCY_S, side=SIDE)
    workers = harness.workers(
        stub, processes=PROCESSES, threads=THREADS, in_flight_limit=64, module="retouch_ops.bench.worker_profile"
    )
    with harness.queue(stub) as queue:
        queue.enqueue_many(edits(100, stub), webhook=f"{stub}/hook")
        harness.wait_for_webhooks(stub, 100)
        before, requests = _section_totals(harness, workers), edits(jobs, stub)

        def enqueue() -> None:
            queue.enqueue_many(requests, webhook=f"{stub}/hook")

        spent = _cpu_during(harness, stub, workers, jobs + 100, enqueue)
    after = _section_totals(harness, workers)
    harness.stop(workers)
    sections = {name: (after[name] - before[name]) / jobs for name in after}
    return spent / jobs, sections


def _section_totals(harness: Harness, workers: Sequence[MeasuredChild]) -> Counter[str]:
    total: Counter[str] = Counter()
    for snapshot in harness.snapshots(workers):
        total.update(snapshot)
    return total


def _tutorial(harness: Harness, jobs: int, pool: str, threads: int) -> float:
    stub, folder = harness.stub(latency_s=LATENCY_S, side=SIDE), str(harness.folder("tutorial"))
    workers = harness.tutorial_workers(processes=PROCESSES, threads=threads, pool=pool)
    with make_tutorial_app(harness.redis_url) as app:

        def send(numbers: range) -> None:
            for number in numbers:
                app.send_task(TASK, args=(number, stub, folder))

        send(range(100))
        harness.wait_for_webhooks(stub, 100)
        spent = _cpu_during(harness, stub, workers, jobs + 100, lambda: send(range(jobs)))
    harness.stop(workers)
    return spent / jobs


def _cpu_during(
    harness: Harness, stub: str, workers: Sequence[MeasuredChild], webhooks: int, enqueue: Callable[[], object]
) -> float:
    """Call `enqueue`, wait for the webhooks, and return the CPU seconds that the workers used from begin to end."""
    before = sum(worker.cpu_s() for worker in workers)
    enqueue()
    harness.wait_for_webhooks(stub, webhooks)
    time.sleep(0.2)  # until the last delivery is settled as well
    return sum(worker.cpu_s() for worker in workers) - before
