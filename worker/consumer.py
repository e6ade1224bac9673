"""
Celery's consumer, telling its events in batches.

It flushes task events after each turn of its loop, which under load is one PUBLISH for each message: a quarter of the
main thread's time. Flower needs them within a second, not within a millisecond.
"""

from __future__ import annotations

from typing import Any

from celery.worker.consumer import Consumer

EVENTS_WITHIN_S = 0.5


class BatchingConsumer(Consumer):
    """Flushes task events twice a second, or when 24 have gathered, whichever comes first."""

    _flushing: Any = None

    def on_send_event_buffered(self) -> None:
        """Leave the event in its buffer until the next flush."""

    def on_ready(self) -> None:
        """Begin to flush; called again after each reconnection, whose predecessor's timer goes."""
        super().on_ready()
        if self._flushing:
            self._flushing.cancel()
        self._flushing = self.hub.call_repeatedly(EVENTS_WITHIN_S, self._flush_events)

    def stop(self) -> None:
        """Tell what has gathered, then stop."""
        self._flush_events()
        super().stop()
