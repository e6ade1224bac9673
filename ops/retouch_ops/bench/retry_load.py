"""What thousands of waiting retries cost the workers: nothing, for the waits are in the store's timetable."""

from __future__ import annotations

import time

from retouch_ops.bench.baselines.celery_tutorial import TASK, make_tutorial_app
from retouch_ops.bench.child import NotMeasured
from retouch_ops.bench.figures import Row, Scale
from retouch_ops.bench.harness import Harness, edits

HOUR_S, PATIENCE_S = 3_600.0, 120.0
BROKER_LISTS = ("rt:broker:edits", "rt:broker:deliveries", "rt:broker:unacked")


def measure(rig: Harness, scale: Scale) -> list[Row]:
    """Each job's first attempt fails and the second is an hour away; the tutorial waits by countdown."""
    count, warm = (10_000, 1_000) if scale == "full" else (300, 100)
    ours, left = _retouch(rig, count, warm)
    rig.say("the tutorial's Celery")
    theirs = _tutorial(rig, count)
    note = f"by {ours:+.1f} MB and {theirs:+.1f} MB; messages left in the broker: {left}"
    what = f"memory growth for each of {count:,} waiting retries"
    return [Row(what, "kB", ours * 1e3 / count, None, theirs * 1e3 / count, note=note)]


def _retouch(rig: Harness, count: int, warm: int) -> tuple[float, int]:
    stub = rig.stub(kind="failed")
    workers = rig.workers(
        stub, processes=1, threads=32, in_flight_limit=24, backoff_base_s=HOUR_S, backoff_cap_s=2 * HOUR_S
    )
    with rig.queue(stub) as queue:
        requests = edits(count + warm, stub)
        queue.enqueue_many(requests[:warm])
        _until_parked(rig, warm)
        before = workers[0].rss_bytes()
        queue.enqueue_many(requests[warm:])
        _until_parked(rig, count + warm)
    grown = (workers[0].rss_bytes() - before) / 1e6
    left = sum(_length(rig, name) for name in BROKER_LISTS)
    rig.stop(workers)
    return grown, left


def _length(rig: Harness, name: str) -> int:
    kind = rig.client.type(name)
    return int(rig.client.llen(name) if kind == "list" else rig.client.hlen(name) if kind == "hash" else 0)


def _until_parked(rig: Harness, count: int) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while (parked := rig.client.zcard("rt:edits:timetable")) < count:
        if time.monotonic() > give_up_at:
            raise NotMeasured(f"only {parked} of {count} retries were waiting after {PATIENCE_S:g} s")
        time.sleep(0.1)


def _tutorial(rig: Harness, count: int) -> float:
    workers = rig.tutorial_workers(processes=1, threads=32, pool="threads")
    before = workers[0].rss_bytes()
    with make_tutorial_app(rig.redis_url) as app:
        for number in range(count):
            app.send_task(TASK, args=(number, "http://127.0.0.1:1", "none"), countdown=HOUR_S)
    give_up_at = time.monotonic() + PATIENCE_S
    while rig.client.llen("celery") and time.monotonic() < give_up_at:
        time.sleep(0.1)
    grown = (workers[0].rss_bytes() - before) / 1e6
    rig.stop(workers)
    return grown
