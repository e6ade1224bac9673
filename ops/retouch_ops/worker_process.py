"""
One Celery worker process: `python -m retouch_ops.worker_process NAME LANES CONCURRENCY`, as `retouch worker` runs it.

It does what `celery --app retouch_worker.app worker` does, without the rest of Celery's command line, whose imports
(every other command, Flower, a line editor) cost each process 0.9 s of CPU and 10 MB.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence

from celery.utils.nodenames import gethostname

HEARTBEAT_S = 5.0  # for Flower alone, which takes a worker for gone after two; Celery's default is 2 s


def main(arguments: Sequence[str]) -> int:
    """
    Work until SIGTERM, then drain; returns the exit code.

    Threads: one process holds hundreds of waiting calls. Without mingle and gossip: they cost messages between all
    workers and Retouch needs neither, since the store is the only truth.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the worker takes it: what is asked for is read now anyway
    from retouch_worker.app import app, settings
    from retouch_worker.logs import configure

    # Before Celery does it, so that what is said while it starts has the same form, warnings of Python too.
    configure(settings)
    logging.captureWarnings(True)
    name, lanes, concurrency = arguments
    celery = app.Worker(
        hostname=f"{name}@{gethostname()}",
        pool="threads",
        concurrency=int(concurrency),
        queues=lanes.split(","),
        loglevel=settings.log_level,
        without_mingle=True,
        without_gossip=True,
        heartbeat_interval=HEARTBEAT_S,
        quiet=True,
    )
    celery.start()
    return int(celery.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
