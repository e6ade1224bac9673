"""
A worker process that measures its CPU time by section: `python -m retouch_ops.bench.worker_profile NAME LANES
CONCURRENCY`.

A *section* is a kind of work, such as "Redis scripts", with a list of functions. The calls of these functions are timed
by the CPU clock of their thread. For each path that comes on standard input, the process writes a JSON file. The file
has the CPU seconds so far of each section, and of everything else.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from structlog.typing import FilteringBoundLogger

import retouch_worker.deliveries.attempt
import retouch_worker.edits.attempt
import retouch_worker.edits.images
from retouch.blobs.file import FileBlobs
from retouch.images.validation import check
from retouch.publisher import Publisher
from retouch.store.deliveries import DeliveryStore
from retouch.store.jobs import JobStore
from retouch.store.lanes import Lanes
from retouch.store.receivers import ReceiverStore
from retouch_ops.worker_process import main
from retouch_worker.deliveries.sender import Sender
from retouch_worker.edits.endpoint import Endpoint, Endpoints

P = ParamSpec("P")
Value = TypeVar("Value")

# The functions themselves and not their names, so that a rename that forgets this table is a type error.
SECTIONS: dict[str, list[tuple[object, Callable[..., object]]]] = {
    "HTTP to the endpoint": [(Endpoint, Endpoint.post_edit), (Endpoint, Endpoint.poll)],
    "HTTP download": [(Endpoints, Endpoints.download)],
    "HTTP webhook": [(Sender, Sender.webhook)],
    "picture check": [(retouch_worker.edits.images, check)],
    "blob store": [(FileBlobs, FileBlobs.put)],
    "publishing": [(Publisher, Publisher.publish)],
    "Redis scripts": [
        *((JobStore, script) for script in (JobStore.claim, JobStore.intend, JobStore.answer, JobStore.settle)),
        (JobStore, JobStore.record_with_entry),
        (DeliveryStore, DeliveryStore.claim),
        (DeliveryStore, DeliveryStore.settle),
        (ReceiverStore, ReceiverStore.get),
    ],
    "rescue and heartbeat": [(Lanes, Lanes.rescue), (Lanes, Lanes.heartbeat)],
}
_spent_s: defaultdict[str, float] = defaultdict(float)
_lock = threading.Lock()


class TimedLog:
    """A logger whose `info` calls are timed as section `logging`."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self.info = timed("logging", self._log.info)

    def __getattr__(self, name: str) -> object:
        return getattr(self._log, name)


def timed(section: str, call: Callable[P, Value]) -> Callable[P, Value]:
    """Return a function that calls `call` and adds the CPU time of each call to a section."""

    def wrapped(*arguments: P.args, **named: P.kwargs) -> Value:
        started_at = time.thread_time()
        try:
            return call(*arguments, **named)
        finally:
            spent_s = time.thread_time() - started_at
            with _lock:
                _spent_s[section] += spent_s

    return wrapped


def install() -> None:
    """Replace the functions of all sections by timed ones, and start the thread that writes snapshots."""
    for section, calls in SECTIONS.items():
        for owner, call in calls:
            setattr(owner, call.__name__, timed(section, call))
    for module in (retouch_worker.edits.attempt, retouch_worker.deliveries.attempt):
        vars(module)["log"] = TimedLog(vars(module)["log"])
    threading.Thread(target=_answer_snapshots, daemon=True).start()


def _answer_snapshots() -> None:
    for line in sys.stdin:
        path = Path(line.strip())
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(snapshot()))
        draft.replace(path)


def snapshot() -> dict[str, float]:
    """Return the CPU seconds so far of each section, of the main thread, and of everything else."""
    with _lock:
        sections = dict(_spent_s)
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    consuming_s = time.clock_gettime(time.pthread_getcpuclockid(main_thread))
    rest_s = time.process_time() - consuming_s - sum(sections.values())
    return {
        **sections,
        "Celery: consuming, acks, events (main thread)": consuming_s,
        "Celery: task tracing; our glue": rest_s,
    }


if __name__ == "__main__":
    install()
    sys.exit(main(sys.argv[1:]))
