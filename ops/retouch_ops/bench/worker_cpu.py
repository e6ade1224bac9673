"""CPU of the workers for each job with all guarantees on, and where it goes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from retouch.images.validation import check
from retouch_ops.bench.baselines.celery_tutorial import TASK, make_tutorial_app
from retouch_ops.bench.child import MeasuredChild
from retouch_ops.bench.endpoint_stub import picture
from retouch_ops.bench.figures import Row, Scale, beside
from retouch_ops.bench.harness import Harness, edits

PROCESSES, THREADS, LATENCY_S, SIDE = 2, 40, 0.3, 183


def measure(rig: Harness, scale: Scale) -> list[Row]:
    """CPU-seconds for 1,000 jobs, which is milliseconds for one; the check of the picture is counted apart."""
    jobs = 1_000 if scale == "full" else 150
    ours, split = _retouch(rig, jobs)
    rig.say("no queue")
    plain = rig.run_no_queue(rig.stub(latency_s=LATENCY_S, side=SIDE), jobs, 2 * THREADS).cpu_s / jobs
    theirs = {}
    for pool, threads in (("threads", THREADS), ("prefork", 8))[: 2 if scale == "full" else 1]:
        rig.say(f"the tutorial's Celery, {pool}")
        theirs[pool] = _tutorial(rig, jobs, pool, threads)
    checked, others = check_cpu_s(), [(pool, spent_s) for pool, spent_s in theirs.items() if pool != "threads"]
    note = f"{jobs} jobs of 100 kB, webhooks, events on; stub endpoint; Celery: threads (no picture check, no records)"
    ours -= checked
    return [
        beside("worker CPU for 1,000 jobs", "s", (ours, plain, theirs["threads"]), 1e3, aim=3.3, note=note),
        *(beside(f"the same, Celery with {pool}", "s", (ours, plain, spent_s), 1e3) for pool, spent_s in others),
        Row("picture check for 1,000 jobs", "s", checked * 1e3, note="counted apart"),
        *(Row(f"  of it: {name}", "s", spent_s * 1e3) for name, spent_s in sorted(split.items())),
    ]


def check_cpu_s() -> float:
    """CPU seconds of one check of the picture."""
    data, times = picture(SIDE), []
    for _ in range(30):
        started_at = time.thread_time()
        check(data)
        times.append(time.thread_time() - started_at)
    return sorted(times)[len(times) // 2]


def _retouch(rig: Harness, jobs: int) -> tuple[float, dict[str, float]]:
    stub = rig.stub(latency_s=LATENCY_S, side=SIDE)
    workers = rig.workers(
        stub, processes=PROCESSES, threads=THREADS, in_flight_limit=64, module="retouch_ops.bench.worker_profile"
    )
    with rig.queue(stub) as queue:
        queue.enqueue_many(edits(100, stub), webhook=f"{stub}/hook")
        rig.wait_for_webhooks(stub, 100)
        before, requests = _sum(rig, workers), edits(jobs, stub)

        def enqueue() -> None:
            queue.enqueue_many(requests, webhook=f"{stub}/hook")

        spent = _cpu(rig, stub, workers, jobs + 100, enqueue)
    after = _sum(rig, workers)
    rig.stop(workers)
    split = {name: (after[name] - before[name]) / jobs for name in after}
    return spent / jobs, split


def _sum(rig: Harness, workers: Sequence[MeasuredChild]) -> Counter[str]:
    total: Counter[str] = Counter()
    for snapshot in rig.snapshots(workers):
        total.update(snapshot)
    return total


def _tutorial(rig: Harness, jobs: int, pool: str, threads: int) -> float:
    stub, folder = rig.stub(latency_s=LATENCY_S, side=SIDE), str(rig.folder("tutorial"))
    workers = rig.tutorial_workers(processes=PROCESSES, threads=threads, pool=pool)
    with make_tutorial_app(rig.redis_url) as app:

        def send(numbers: range) -> None:
            for number in numbers:
                app.send_task(TASK, args=(number, stub, folder))

        send(range(100))
        rig.wait_for_webhooks(stub, 100)
        spent = _cpu(rig, stub, workers, jobs + 100, lambda: send(range(jobs)))
    rig.stop(workers)
    return spent / jobs


def _cpu(rig: Harness, stub: str, workers: Sequence[MeasuredChild], hooks: int, enqueue: Callable[[], object]) -> float:
    """CPU seconds of the workers from the first enqueue until a moment after the last webhook."""
    before = sum(worker.cpu_s() for worker in workers)
    enqueue()
    rig.wait_for_webhooks(stub, hooks)
    time.sleep(0.2)  # the last delivery is settled
    return sum(worker.cpu_s() for worker in workers) - before
