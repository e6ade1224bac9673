"""
The thread of a worker process that carries out bulk runs, one chunk at a time.

The whole state of a run is in the store. If a worker dies in a chunk, the next worker that leases the run acts once on
each remaining item. After ten items the thread pauses for as long as these items took, so that other clients have at
least half of Redis' time. After about a second it changes to the run that has waited longest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import redis

from retouch.publisher import Publisher
from retouch.store.bulk import BulkRun, BulkStore
from retouch.store.bulk_chunks import BulkChunks
from retouch.store.redis_retry import trouble
from retouch_worker.logs import log

LEASE_S = 15.0
TURN_S = 1.0
IDLE_S = 2.0
_SHORTEST_PAUSE_S = 0.002


class BulkRunner:
    """A thread that carries out bulk runs, in turns of about a second, until it is stopped."""

    def __init__(self, runs: BulkStore, chunks: BulkChunks, publisher: Publisher, retention_s: float) -> None:
        self._runs, self._chunks, self._publisher, self._retention_s = runs, chunks, publisher, retention_s
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._go_on, name="retouch-bulk", daemon=True).start()

    def stop(self) -> None:
        """Make the thread end after its present step: up to ten items, or the reading of one chunk."""
        self._stopped.set()

    def _go_on(self) -> None:
        pause_s = IDLE_S
        while not self._stopped.wait(pause_s):
            try:
                pause_s = _SHORTEST_PAUSE_S if self.turn() else IDLE_S
            except redis.RedisError as error:
                log.warning("store_away", error=type(error).__name__, reason=trouble(error), leases=0)
                pause_s = IDLE_S
            except Exception as error:  # noqa: BLE001 - another worker or the next turn continues after the items done
                log.error("bulk_turn_failed", error=type(error).__name__)
                pause_s = LEASE_S

    def turn(self) -> bool:
        """Work for about a second on the run that has waited longest. Return False if no run waits."""
        run = self._runs.take(LEASE_S)
        if run is None:
            return False
        began_at = time.monotonic()
        word = "running" if run.left else "planning"
        while word in ("running", "planning") and time.monotonic() - began_at < TURN_S and not self._stopped.is_set():
            word = self._paced(self._plan if word == "planning" else self._move, run)
            if word == "planning":
                run = self._runs.find(run.id) or run
        if word == "done":
            self._runs.note_done(run)
            log.info("bulk_run_done", bulk=run.id, action=run.request.action)
        elif word != "stale":
            self._runs.release(run)
        return True

    def _paced(self, step: Callable[[BulkRun], str], run: BulkRun) -> str:
        began_at = time.monotonic()
        word = step(run)
        self._stopped.wait(max(time.monotonic() - began_at, _SHORTEST_PAUSE_S))
        return word

    def _plan(self, run: BulkRun) -> str:
        matched, items, following = self._chunks.next_chunk(run)
        word = self._runs.plan(run, matched, items, following)
        return "running" if word == "ok" else word

    def _move(self, run: BulkRun) -> str:
        word, messages = self._runs.move(run, LEASE_S, self._retention_s)
        self._publisher.publish(messages)
        return word
