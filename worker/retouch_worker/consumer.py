"""
Celery's consumer, telling its events in batches, and soon back after an outage of its broker.

It flushes task events after each turn of its loop, which under load is one PUBLISH for each message: a quarter of the
main thread's time. Flower needs them within a second, not within a millisecond.
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
    """Flushes task events twice a second, or when 24 have gathered, whichever comes first."""

    _flushing: Any = None

    def ensure_connected(self, conn: Any) -> Any:
        """Try again every few seconds: kombu's waits grow to half a minute, for which all slots would stand idle."""
        conn.ensure_connection = partial(
            conn.ensure_connection, interval_start=0.5, interval_step=0.5, interval_max=RECONNECT_MOST_S
        )
        return super().ensure_connected(conn)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Pause where the broker refuses writes for a while, since connecting again succeeds; end at what stays."""
        if isinstance(exc, redis.ResponseError):
            if not refusal(exc):
                raise exc
            time.sleep(RECONNECT_MOST_S / 3)
        super().on_connection_error_after_connected(exc)

    def on_send_event_buffered(self) -> None:
        """Leave the event in its buffer until the next flush."""

    def on_ready(self) -> None:
        """Begin to flush; called again after each reconnection, whose predecessor's timer goes."""
        super().on_ready()
        if self._flushing:
            self._flushing.cancel()
        self._flushing = self.hub.call_repeatedly(EVENTS_WITHIN_S, self._flush)

    def stop(self) -> None:
        """Tell what has gathered, then stop."""
        self._flush()
        super().stop()

    def _flush(self) -> None:
        if self.event_dispatcher:
            self.event_dispatcher.flush()
