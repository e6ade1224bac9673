"""
A real worker with a fault: `python -m tests.chaos.faulty_worker NAME LANES CONCURRENCY OPTIONS…`.

The fault is a wrong clock, a lack of memory, or a disk that refuses writes. Other options shorten the time limits of
calls, so that a test waits less.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from retouch.blobs.file import FileBlobs
from retouch.images.validation import check
from retouch_ops.worker_process import main as work
from retouch_worker.edits import endpoint, images
from tests.chaos.stack import Stage, environment_of

PAGE_BYTES, HALF_A_PICTURE_BYTES = 4_096, 512 * 1024
"""Blocks of half a decoded picture or more come from the kernel, which may refuse them, and not from freed memory."""


def start_odd_worker(stage: Stage, concurrency: int, *options: str) -> subprocess.Popen[bytes]:
    """Start a worker that has a fault, add it to the workers of the stage, and return its process."""
    name = f"odd{len(stage.workers)}"
    command = [sys.executable, "-m", "tests.chaos.faulty_worker", name, "edits,deliveries", str(concurrency), *options]
    with (stage.folder / "workers.log").open("ab") as log:
        environment = {**environment_of(stage.settings), "MALLOC_MMAP_THRESHOLD_": str(HALF_A_PICTURE_BYTES)}
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    stage.workers.append(process)
    return process


def starved(check: Callable[..., Any]) -> Callable[..., Any]:
    """Return `check`, changed so that the process can get no more memory while `check` runs."""

    def check_without_memory(data: bytes, *more: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_DATA, (PAGE_BYTES, resource.RLIM_INFINITY))
        hoard = []
        try:
            # What was freed is found again without asking the kernel, and Pillow makes do with small pieces of it.
            for size in (HALF_A_PICTURE_BYTES, 4 * PAGE_BYTES):
                with suppress(MemoryError):
                    while True:
                        hoard.append(bytearray(size))
            return check(data, *more)
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    return check_without_memory


def faulty(write: Callable[..., None], fault: Path) -> Callable[..., None]:
    """
    Return `write`, changed so that it fails while the file `fault` exists. The file contains the errno.

    A test uses this on a machine where it has no right to mount a small disk.
    """

    def write_or_fail(*arguments: Any) -> None:
        if fault.exists():
            number = int(fault.read_text())
            raise OSError(number, os.strerror(number))
        write(*arguments)

    return write_or_fail


def main() -> int:
    """Set up the fault, then run the worker until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("worker", nargs=3)
    parser.add_argument("--clock-ahead-s", type=float, default=0.0)
    parser.add_argument("--download-timeout-s", type=float, default=endpoint.DOWNLOAD_TIMEOUT_S)
    parser.add_argument("--poll-timeout-s", type=float, default=endpoint.POLL_TIMEOUT_S)
    parser.add_argument("--no-more-memory", action="store_true")
    parser.add_argument("--store-fault", type=Path, help="while this file exists, writing fails with the errno in it")
    options = parser.parse_args()
    endpoint.DOWNLOAD_TIMEOUT_S = options.download_timeout_s
    endpoint.POLL_TIMEOUT_S = options.poll_timeout_s
    if options.clock_ahead_s:
        right = time.time
        time.time = lambda: right() + options.clock_ahead_s
    if options.no_more_memory:
        images.check = starved(check)  # type: ignore[attr-defined]  # the name that the module imported
    if options.store_fault:
        FileBlobs._write = faulty(FileBlobs._write, options.store_fault)  # type: ignore[method-assign]  # for this process alone
    return work(options.worker)


if __name__ == "__main__":
    sys.exit(main())
