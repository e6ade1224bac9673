"""
A Celery consumer that sends its task events in batches, and reconnects soon after an outage of its broker.

Celery's own consumer sends events after each turn of its loop. Under load, this is one PUBLISH for each message, and
takes a quarter of the main thread's time. Flower needs the events only within a second.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import redis
from celery.worker.consumer import Consumer

from retouch.store.redis_retry import refusal

EVENTS_WITHIN_S = 0.5
RECONNECT_MOST_S = 3.0


class BatchingConsumer(Consumer):
    """A consumer that sends its task events twice a second, or as soon as 24 are buffered."""

    _flushing: Any = None

    def ensure_connected(self, conn: Any) -> Any:
        """
        Return a connection once the broker answers; wait at most 3 s between two tries.

        kombu's own waits grow to half a minute. During such a wait this worker would use no slot.
        """
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=0.5, interval_step=0.5, interval_max=RECONNECT_MOST_S
        )
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """
        Prepare to reconnect after a lost connection.

        If Redis refuses writes, wait a second first. If Redis returns any other error, raise the error.
        """
        if isinstance(exc, redis.ResponseError):
            if not refusal(exc):
                raise exc
            # Reconnecting succeeds at once, so without the wait this would be a busy loop.
            time.sleep(RECONNECT_MOST_S / 3)
        super().on_connection_error_after_connected(exc)

    def on_send_event_buffered(self) -> None:
        """Do nothing: the event stays in the buffer until the next flush."""

    def on_ready(self) -> None:
        """Start the flush timer; Celery calls this again after each reconnection."""
        super().on_ready()
        if self._flushing:  # the timer of the former connection
            self._flushing.cancel()
        self._flushing = self.hub.call_repeatedly(EVENTS_WITHIN_S, self._flush)

    def stop(self) -> None:
        """Send the buffered events, then stop."""
        self._flush()
        super().stop()

    def _flush(self) -> None:
        if self.event_dispatcher:
            self.event_dispatcher.flush()
