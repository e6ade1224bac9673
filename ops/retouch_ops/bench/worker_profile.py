"""
A worker process that knows where its CPU time goes: `python -m retouch_ops.bench.worker_profile NAME LANES
CONCURRENCY`.

The calls at the seams of an attempt are timed by their thread's CPU clock. Each path read from standard input gets a
snapshot in JSON: seconds for each section, and what is left to Celery.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import retouch_worker.deliveries.attempt
import retouch_worker.edits.attempt
import retouch_worker.edits.images
from retouch.blobs.file import FileBlobs
from retouch.publisher import Publisher
from retouch.store.deliveries import DeliveryStore
from retouch.store.jobs import JobStore
from retouch.store.lanes import Lanes
from retouch.store.receivers import ReceiverStore
from retouch_ops.worker_process import main
from retouch_worker.deliveries.sender import Sender
from retouch_worker.edits.endpoint import Endpoint, Endpoints

SECTIONS: dict[str, list[tuple[Any, str]]] = {
    "HTTP to the endpoint": [(Endpoint, "post_edit"), (Endpoint, "poll")],
    "HTTP download": [(Endpoints, "download")],
    "HTTP webhook": [(Sender, "webhook")],
    "picture check": [(retouch_worker.edits.images, "check")],
    "blob store": [(FileBlobs, "put")],
    "publishing": [(Publisher, "publish")],
    "Redis scripts": [
        *((JobStore, name) for name in ("claim", "intend", "answer", "settle")),
        *((DeliveryStore, name) for name in ("claim", "settle")),
        (JobStore, "record_with_entry"),
        (ReceiverStore, "get"),
    ],
    "rescue and heartbeat": [(Lanes, "rescue"), (Lanes, "heartbeat")],
}
_spent_s: defaultdict[str, float] = defaultdict(float)
_lock = threading.Lock()


class TimedLog:
    """A logger whose lines are timed."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.info = timed("logging", self._log.info)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


def timed(section: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, its CPU time added to a section."""

    def wrapped(*arguments: Any, **named: Any) -> Any:
        started_at = time.thread_time()
        try:
            return call(*arguments, **named)
        finally:
            spent_s = time.thread_time() - started_at
            with _lock:
                _spent_s[section] += spent_s

    return wrapped


def install() -> None:
    """Time all sections, and write a snapshot for each path that comes in."""
    for section, seams in SECTIONS.items():
        for owner, name in seams:
            setattr(owner, name, timed(section, getattr(owner, name)))
    for module in (retouch_worker.edits.attempt, retouch_worker.deliveries.attempt):
        vars(module)["log"] = TimedLog(vars(module)["log"])
    threading.Thread(target=_answer, daemon=True).start()


def _answer() -> None:
    for line in sys.stdin:
        path = Path(line.strip())
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(snapshot()))
        draft.replace(path)


def snapshot() -> dict[str, float]:
    """CPU seconds so far for each section; the main thread consumes, what else the threads do is Celery's and ours."""
    with _lock:
        told = dict(_spent_s)
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    consuming = time.clock_gettime(time.pthread_getcpuclockid(main_thread))
    rest = time.process_time() - consuming - sum(told.values())
    return {**told, "Celery: consuming, acks, events (main thread)": consuming, "Celery: task tracing; our glue": rest}


if __name__ == "__main__":
    install()
    sys.exit(main(sys.argv[1:]))
