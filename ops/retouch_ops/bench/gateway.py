"""Measures the gateway under load, compared with a FastAPI route that does nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from retouch import EditQueue
from retouch.store.redis_client import connect
from retouch.store.tenants import TenantStore
from retouch_ops.bench.child import NotMeasured
from retouch_ops.bench.figures import Row, Scale, percentile
from retouch_ops.bench.harness import PROMPT, Harness
from retouch_ops.bench.http_load import Load, post_many, watch

CONNECTIONS, BATCH = 8, 1_000
PICTURE = "https://example.com/in.png"


def measure(harness: Harness, scale: Scale) -> list[Row]:
    """
    Return the rate of edits over HTTP, one by one and in batches, and the memory of the gateway.

    During the measurement of memory, many clients read server-sent events.
    """
    singles, batches, watchers = (4_000, 20, 1_000) if scale == "full" else (800, 4, 200)
    _, secret = TenantStore(connect(harness.settings())).create_key("bench", "ops")
    # Without the capture of pictures: this measures the gateway and not an image host.
    url, child = harness.web("retouch_producer.gateway", RETOUCH_CAPTURE_INPUT="off")
    bare_url, _ = harness.web("retouch_ops.bench.baselines.bare_route")
    edit = {"prompt": PROMPT, "init_image": PICTURE, "steps": 50}
    body, batch_body = json.dumps(edit).encode(), json.dumps({"edits": [edit] * BATCH}).encode()
    with harness.queue() as queue:
        queue.pause()
        bare = _all_accepted(post_many(f"{bare_url}/v1/edits", body, secret, requests=singles, connections=CONNECTIONS))
        ours = _all_accepted(post_many(f"{url}/v1/edits", body, secret, requests=singles, connections=CONNECTIONS))
        batch = _all_accepted(post_many(f"{url}/v1/edits/batch", batch_body, secret, requests=batches, connections=2))
        before_mb, watched_mb = asyncio.run(_memory_while_watched(queue, url, secret, watchers, child.process.pid))
    p99 = percentile(ours.times, 0.99) * 1e3
    share = f"{ours.per_s / bare.per_s:.2f} x a bare FastAPI route ({bare.per_s:,.0f}/s)"
    return [
        Row("edits accepted over HTTP", "1/s", ours.per_s, aim=500, more_is_better=True, note=share),
        Row("p99 of accepting one", "ms", p99, aim=50, note=f"bare: {percentile(bare.times, 0.99) * 1e3:.1f} ms"),
        Row("edits accepted in batches", "1/s", batch.per_s * BATCH, aim=5_000, more_is_better=True),
        Row(f"memory with {watchers:,} watchers", "MB", watched_mb, aim=200, note=f"{before_mb:.0f} MB before"),
    ]


def _all_accepted(load: Load) -> Load:
    if load.refused:
        raise NotMeasured(f"{load.refused} requests were not answered 2xx")
    return load


async def _memory_while_watched(
    queue: EditQueue, url: str, secret: str, watchers: int, pid: int
) -> tuple[float, float]:
    """
    Return the gateway's memory in MB before `watchers` clients watch one job, and while they watch.

    Raises `NotMeasured` if a client does not receive the job's last event.
    """
    job = next(iter(queue.jobs(tenant="bench", limit=1))).id
    before_mb, subscribed = _memory_mb(pid), asyncio.Semaphore(0)
    address = f"{url}/v1/edits/{job}/events"
    tasks = [asyncio.create_task(watch(address, secret, subscribed, b"edit.cancelled")) for _ in range(watchers)]
    for _ in range(watchers):
        await subscribed.acquire()
    watched_mb = _memory_mb(pid)
    await asyncio.to_thread(queue.cancel, job)
    if not all(await asyncio.gather(*tasks)):
        raise NotMeasured("some watchers did not receive the last event")
    return before_mb, watched_mb


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
