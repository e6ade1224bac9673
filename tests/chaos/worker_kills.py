"""
Real worker processes that die by SIGKILL at a named point: `python -m tests.chaos.worker_kills …`.

A parent process imports the worker once and forks children. Each child is a Celery worker that dies at one point, after
it has passed that point a few times. The seed chooses the points. When a child dies, the parent forks the next child.
After the last kill, the children live on. A point is a method that this module wraps, so the worker's code stays
unchanged.

A run writes two files for the auditor. Each line of the log of kills has a point and a process id. Each line of the
file `intents` has the job, the fence and the process id of a POST that is about to be sent.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from retouch.blobs.file import FileBlobs
from retouch.publisher import Publisher
from retouch.store.deliveries import DeliveryStore
from retouch.store.jobs import JobStore
from retouch.store.lanes import Lanes
from retouch.store.records import Claim
from retouch_ops.worker_process import main as work
from retouch_worker.deliveries.sender import Sender
from retouch_worker.edits.endpoint import Endpoint, Endpoints

STEPS: dict[str, tuple[type, str]] = {
    "claim": (JobStore, "claim"),
    "intent": (JobStore, "intend"),
    "POST": (Endpoint, "post_edit"),
    "answer": (JobStore, "answer"),
    "poll": (Endpoint, "poll"),
    "download": (Endpoints, "download"),
    "store": (FileBlobs, "put"),
    "bring": (JobStore, "record_stored_image"),
    "settle": (JobStore, "settle"),
    "dispatch": (Publisher, "publish"),
    "delivery claim": (DeliveryStore, "claim"),
    "delivery": (Sender, "webhook"),
    "delivery settle": (DeliveryStore, "settle"),
    "rescue": (Lanes, "rescue"),
}
WHENS = ("before", "during", "after")
POINTS = [f"{when} {step}" for step in STEPS for when in WHENS if when != "during" or step in ("POST", "delivery")]
_MOST_PASSES = {"rescue": 3, "poll": 3}
_DURING_MOST_S = 0.15


def arm(point: str, passes: int, log: Path) -> None:
    """
    Wrap the method that belongs to a point. When this method is called for the `passes`-th time, the process is killed
    at the point.
    """
    when, _, step = point.partition(" ")
    owner, name = STEPS[step]
    original = getattr(owner, name)
    left = [passes]
    lock = threading.Lock()

    def die() -> None:
        with log.open("a") as file:
            file.write(f"{point}\t{os.getpid()}\n")
        os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with lock:
            left[0] -= 1
            due = left[0] == 0
        if due and when == "before":
            die()
        if due and when == "during":
            threading.Timer(random.random() * _DURING_MOST_S, die).start()
        result = original(*args, **kwargs)
        if due and when == "after":
            die()
        return result

    setattr(owner, name, wrapped)


def bear_witness(intents: Path) -> None:
    """
    Wrap `JobStore.intend`, so that job, fence and process id are in the file `intents` before the call can be billed.
    """
    original = JobStore.intend

    def intend(self: JobStore, claim: Claim) -> Any:
        with intents.open("a") as file:
            file.write(f"{claim.job}\t{claim.fence}\t{os.getpid()}\n")
        return original(self, claim)

    JobStore.intend = intend  # type: ignore[method-assign]  # wrapped for this process alone


def be_a_worker(number: int, point: str | None, passes: int, log: Path, concurrency: int) -> None:
    """Run a worker in this process until the process ends. If `point` is set, the worker dies at that point."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    bear_witness(log.with_name("intents"))
    if point:
        arm(point, passes, log)
    sys.exit(work([f"mortal{number}", "edits,deliveries", str(concurrency)]))


def main() -> None:
    """
    Keep the given number of children alive. While kills are left, a new child gets a point at which it dies.

    With `--apart-s` above 0, only one child at a time has a point.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--apart-s", type=float, required=True)
    parser.add_argument("--children", type=int, default=2)
    parser.add_argument("--concurrency", type=int, default=6)
    parser.add_argument("--point", choices=POINTS, help="die here alone, when it was passed --passes times")
    parser.add_argument("--passes", type=int)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    points = [options.point] if options.point else POINTS[:]
    rng.shuffle(points)
    options.log.touch()
    armed: dict[int, bool] = {}
    started = children = 0

    def end(*_: object) -> None:
        for pid in armed:
            os.kill(pid, signal.SIGKILL)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        while len(armed) < options.children:
            spent = len(options.log.read_text().splitlines())
            may_die = spent + sum(armed.values()) < options.kills and not (options.apart_s and any(armed.values()))
            point = points[started % len(points)] if may_die else None
            passes = options.passes or rng.randint(1, _MOST_PASSES.get((point or "").partition(" ")[2], 10))
            started += may_die
            children += 1
            if (pid := os.fork()) == 0:
                be_a_worker(children, point, passes, options.log, options.concurrency)
            armed[pid] = may_die
        pid, _ = os.wait()
        del armed[pid]
        time.sleep(options.apart_s)


if __name__ == "__main__":
    main()
