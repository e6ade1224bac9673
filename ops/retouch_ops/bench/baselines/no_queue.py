"""
Does the HTTP and disk work of Retouch without a queue: `python -m retouch_ops.bench.baselines.no_queue STUB FOLDER JOBS
THREADS`.

Each thread has a tuned `requests` session. Pictures are written as durably as Retouch writes them, and webhooks are
signed. There are no records, limits, retries or checks. The module prints a `Cost` as JSON.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import os
import resource
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import requests


@dataclass(frozen=True)
class Cost:
    """The cost of all jobs: wall time and CPU time in seconds, peak memory in bytes, and the seconds of each job."""

    wall_s: float
    cpu_s: float
    rss_bytes: int
    latencies_s: list[float]


def one_job(session: requests.Session, stub_url: str, folder: Path, number: int) -> None:
    """Do one job: POST the edit, download and write the picture, POST the signed webhook."""
    body = {"key": "bench", "prompt": f"make him woman {number}", "init_image": f"{stub_url}/in.png", "steps": 50}
    reply = session.post(f"{stub_url}/edit", json=body, timeout=120).json()
    image = session.get(reply["output"], timeout=60).content
    write_durably(folder, f"{hashlib.sha256(image).hexdigest()}-{number}.png", image)
    event = json.dumps({"type": "edit.succeeded", "data": {"job": number, "output": reply["output"]}}).encode()
    signature = hmac.new(b"secret", event, "sha256").hexdigest()
    session.post(f"{stub_url}/hook", data=event, headers={"webhook-signature": signature}, timeout=15)


def write_durably(folder: Path, name: str, data: bytes) -> None:
    """Write a file as the blob store does: under a temporary name, flushed to disk, then renamed."""
    partial = folder / f"{name}.partial"
    with open(partial, "xb", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())
    partial.replace(folder / name)
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def main(stub_url: str, folder: Path, jobs: int, threads: int) -> Cost:
    """Do all jobs and return their cost, without the cost of starting this process."""
    numbers = itertools.count()
    latencies: list[float] = []

    def work() -> None:
        session = requests.Session()
        session.trust_env = False
        while (number := next(numbers)) < jobs:
            started_at = time.monotonic()
            one_job(session, stub_url, folder, number)
            latencies.append(time.monotonic() - started_at)

    started_at, cpu_s = time.monotonic(), time.process_time()
    workers = [threading.Thread(target=work) for _ in range(threads)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    wall_s, rss = time.monotonic() - started_at, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Cost(wall_s, time.process_time() - cpu_s, rss, latencies)


if __name__ == "__main__":
    print(json.dumps(asdict(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))))
