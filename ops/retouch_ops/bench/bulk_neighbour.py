"""
Measures how long the enqueues of one tenant, the neighbour, take while bulk runs of another tenant go on.

The gateway, the workers and the neighbour's client are separate processes. The client enqueues at a steady rate all the
time. The workers run for two seconds and are stopped for two seconds, in turn. The enqueues during the stops are the
comparison. Other load on the machine affects both figures, since both come from the same minutes. A stop is shorter
than a lease, so no lease expires.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterator

from retouch import EditQueue
from retouch.store.bulk import BulkAction
from retouch.store.redis_client import connect
from retouch.store.tenants import TenantStore
from retouch_ops.bench.child import MeasuredChild, NotMeasured
from retouch_ops.bench.figures import Row, Scale, percentile
from retouch_ops.bench.gateway import PICTURE
from retouch_ops.bench.harness import PROMPT, Harness, edits
from retouch_ops.bench.http_load import post_steadily

RATE_PER_S, SLICE_S, SETTLE_S, RATIO_MOST = 40.0, 2.0, 0.2, 2.0
RUN_MOST_S = 600.0
ACTIONS: tuple[BulkAction, ...] = ("priority", "cancel", "replay")
_CHUNK = 1_000


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """Return the latency of the neighbour's enqueues during bulk runs of 30,000 jobs (1,000 if `scale` is small)."""
    jobs = 30_000 if scale == "full" else 1_000
    _, secret = TenantStore(connect(harness.settings())).create_key("neighbour", "producer")
    url, _ = harness.web("retouch_producer.gateway", RETOUCH_CAPTURE_INPUT="off")
    workers = harness.workers(harness.stub(), processes=2, threads=8)
    with harness.queue() as queue:
        queue.pause()
        for first in range(0, jobs, _CHUNK):
            queue.enqueue_many(edits(min(_CHUNK, jobs - first)), tenant="busy")
        child = harness.neighbour(url, secret, RATE_PER_S)
        spans = list(_runs(harness, queue, jobs, workers))
        child.ask("stop")
        child.process.wait(60)
    times = [(float(at), float(took_s)) for at, took_s in json.loads(child.log.read_text())]
    return list(_rows(times, spans))


def _runs(
    harness: Harness, queue: EditQueue, jobs: int, workers: list[MeasuredChild]
) -> Iterator[tuple[str, float, float]]:
    """
    Carry out a bulk run of each action. Yield the name, begin and end (Unix seconds) of each slice of two seconds.

    While the workers run, the name is the action. While they are stopped, the name is `alone ACTION`. The first 0.2 s
    of each slice are left out.
    """
    for action in ACTIONS:
        began_at = time.time()
        run = queue.bulk(action, "since:1d", tenant="busy", priority="high" if action == "priority" else None)
        while queue.bulk_run(run.id).state in ("queued", "running"):
            if time.time() - began_at > RUN_MOST_S:
                raise NotMeasured(f"{action} of {jobs} jobs took longer than {RUN_MOST_S:g} s")
            yield action, time.time() + SETTLE_S, _later(SLICE_S)
            _send(workers, signal.SIGSTOP)
            yield f"alone {action}", time.time() + SETTLE_S, _later(SLICE_S)
            _send(workers, signal.SIGCONT)
        harness.say(f"{action} of {jobs:,} jobs took {time.time() - began_at:.1f} s, half of it stopped")


def _send(workers: list[MeasuredChild], number: signal.Signals) -> None:
    for worker in workers:
        os.killpg(worker.process.pid, number)


def _later(seconds: float) -> float:
    time.sleep(seconds)
    return time.time()


def _rows(times: list[tuple[float, float]], spans: list[tuple[str, float, float]]) -> Iterator[Row]:
    def within(name: str) -> list[float]:
        return [took for at, took in times for kind, begin, end in spans if kind == name and begin <= at < end]

    for action in ACTIONS:
        alone, beside = within(f"alone {action}"), within(action)
        for share, label in ((0.5, "p50"), (0.99, "p99")):
            base, found = percentile(alone, share), percentile(beside, share)
            note = f"{found * 1e3:.1f} ms of {len(beside)} over {base * 1e3:.1f} ms of {len(alone)} requests"
            aim = RATIO_MOST if label == "p99" else None
            yield Row(f"neighbour's enqueue beside {action}, {label}", "x", found / base, aim=aim, note=note)


def main() -> None:
    """
    Enqueue at a steady rate, as the neighbour, until a line comes on standard input. Then print [[due at, seconds] …]
    as JSON.
    """
    url, secret, rate = sys.argv[1], sys.argv[2], float(sys.argv[3])
    body = json.dumps({"prompt": PROMPT, "init_image": PICTURE, "steps": 50}).encode()
    print(json.dumps(asyncio.run(post_steadily(f"{url}/v1/edits", body, secret, rate))), flush=True)


if __name__ == "__main__":
    main()
