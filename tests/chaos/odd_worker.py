"""
A real worker in odd circumstances: `python -m tests.chaos.odd_worker NAME LANES CONCURRENCY OPTIONS…`.

A clock that is wrong, limits of the machine, or shorter limits of single calls, so that a test need not wait for them.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

import worker.edits.endpoint
from ops.worker_process import main as work
from tests.chaos.stage import Stage, environment_of


def start_odd_worker(stage: Stage, concurrency: int, *options: str) -> subprocess.Popen[bytes]:
    """Start one on a stage, and give its process."""
    name = f"odd{len(stage.workers)}"
    command = [sys.executable, "-m", "tests.chaos.odd_worker", name, "edits,deliveries", str(concurrency), *options]
    with (stage.folder / "workers.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment_of(stage.settings), stdout=log, stderr=log)
    stage.workers.append(process)
    return process


def main() -> int:
    """Make the circumstances, then work until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("worker", nargs=3)
    parser.add_argument("--clock-ahead-s", type=float, default=0.0)
    parser.add_argument("--download-timeout-s", type=float, default=worker.edits.endpoint.DOWNLOAD_TIMEOUT_S)
    parser.add_argument("--poll-timeout-s", type=float, default=worker.edits.endpoint.POLL_TIMEOUT_S)
    parser.add_argument("--memory-bytes", type=int, default=0)
    parser.add_argument("--user", type=int, default=0)
    told = parser.parse_args()
    worker.edits.endpoint.DOWNLOAD_TIMEOUT_S = told.download_timeout_s
    worker.edits.endpoint.POLL_TIMEOUT_S = told.poll_timeout_s
    if told.clock_ahead_s:
        right = time.time
        time.time = lambda: right() + told.clock_ahead_s
    if told.memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (told.memory_bytes, told.memory_bytes))
    if told.user:
        os.setuid(told.user)
    return work(told.worker)


if __name__ == "__main__":
    sys.exit(main())
