"""
One Celery worker process: `python -m retouch_ops.worker_process NAME LANES CONCURRENCY`, as `retouch worker` runs it.

It does the same as `celery --app retouch_worker.app worker`, without the rest of Celery's command line. The imports of
the rest (other commands, Flower, a line editor) would cost each process 0.9 s of CPU and 10 MB.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence

from celery.utils.nodenames import gethostname

# Only Flower uses heartbeats: it shows a worker as offline after two missed ones. Celery's default is 2 s.
HEARTBEAT_S = 5.0


def main(arguments: Sequence[str]) -> int:
    """
    Work until SIGTERM, then drain, and return the exit code.

    The pool consists of threads, since one process has hundreds of waiting calls. Mingle and gossip are off. They send
    messages between all workers, but Retouch has its shared state in the store.
    """
    signal.signal(
        signal.SIGHUP, signal.SIG_IGN
    )  # until the worker handles it: accounts and keys are about to be read anyway
    from retouch_worker.app import app, settings
    from retouch_worker.logs import configure

    # Celery configures logging only later, but its first lines and Python warnings should have the same form.
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
