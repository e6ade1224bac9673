"""
Measures how long another tenant's enqueues take beside bulk runs, compared with the times between the runs.

The gateway, the workers and the neighbour's client are processes of their own. The client enqueues at a steady rate all
the time, so both figures come from one run on one machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator

from retouch import EditQueue
from retouch.store.bulk import BulkAction
from retouch.store.redis_client import connect
from retouch.store.tenants import TenantStore
from retouch_ops.bench.child import NotMeasured
from retouch_ops.bench.figures import Row, Scale, percentile
from retouch_ops.bench.gateway import PICTURE
from retouch_ops.bench.harness import PROMPT, Harness, edits
from retouch_ops.bench.http_load import post_steadily

RATE_PER_S, QUIET_S, RATIO_MOST = 40.0, 20.0, 2.0
RUN_MOST_S = 600.0
ACTIONS: tuple[BulkAction, ...] = ("priority", "cancel", "replay")
_CHUNK = 1_000


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """Return the enqueue latency of a neighbour beside bulk runs of 30,000 jobs (1,000 if `scale` is small)."""
    jobs, quiet_s = (30_000, QUIET_S) if scale == "full" else (1_000, 3.0)
    _, secret = TenantStore(connect(harness.settings())).create_key("neighbour", "producer")
    url, _ = harness.web("retouch_producer.gateway", RETOUCH_CAPTURE_INPUT="off")
    harness.workers(harness.stub(), processes=2, threads=8)
    with harness.queue() as queue:
        queue.pause()
        for first in range(0, jobs, _CHUNK):
            queue.enqueue_many(edits(min(_CHUNK, jobs - first)), tenant="busy")
        child = harness.neighbour(url, secret, RATE_PER_S)
        spans = list(_runs(harness, queue, jobs, quiet_s))
        child.ask("stop")
        child.process.wait(60)
    times = [(float(at), float(took_s)) for at, took_s in json.loads(child.log.read_text())]
    return list(_rows(times, spans, jobs))


def _runs(harness: Harness, queue: EditQueue, jobs: int, quiet_s: float) -> Iterator[tuple[str, float, float]]:
    """Carry out a bulk run of each action; yield what ran from when to when, with quiet times around each."""
    for action in ACTIONS:
        yield "alone", time.time(), _later(quiet_s)
        began_at = time.time()
        run = queue.bulk(action, "since:1d", tenant="busy", priority="high" if action == "priority" else None)
        while queue.bulk_run(run.id).state in ("queued", "running"):
            if time.time() - began_at > RUN_MOST_S:
                raise NotMeasured(f"{action} of {jobs} jobs took longer than {RUN_MOST_S:g} s")
            time.sleep(0.2)
        harness.say(f"{action} of {jobs:,} jobs took {time.time() - began_at:.1f} s")
        yield action, began_at, time.time()
    yield "alone", time.time(), _later(quiet_s)


def _later(seconds: float) -> float:
    time.sleep(seconds)
    return time.time()


def _rows(times: list[tuple[float, float]], spans: list[tuple[str, float, float]], jobs: int) -> Iterator[Row]:
    def within(name: str) -> list[float]:
        return [took for at, took in times for kind, begin, end in spans if kind == name and begin <= at < end]

    alone = within("alone")
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        base = percentile(alone, share)
        yield Row(f"neighbour's enqueue alone, {label}", "ms", base * 1e3, note=f"{len(alone)} requests")
        for action in ACTIONS:
            found = within(action)
            note = f"{percentile(found, share) * 1e3:.1f} ms, {len(found)} requests"
            what = f"beside {action} of {jobs:,}, {label} over alone"
            yield Row(what, "x", percentile(found, share) / base, aim=RATIO_MOST, note=note)


def main() -> None:
    """Enqueue steadily as the neighbour until a line comes on standard input; print [[began at, seconds] …] as JSON."""
    url, secret, rate = sys.argv[1], sys.argv[2], float(sys.argv[3])
    body = json.dumps({"prompt": PROMPT, "init_image": PICTURE, "steps": 50}).encode()
    print(json.dumps(asyncio.run(post_steadily(f"{url}/v1/edits", body, secret, rate))), flush=True)


if __name__ == "__main__":
    main()
