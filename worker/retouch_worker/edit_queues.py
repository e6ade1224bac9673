"""Makes a Celery worker consume queues of lane `edits`: the queues of the accounts whose keys its process holds."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from retouch.publisher import lane_of


class EditQueues:
    """The queues of lane `edits` that one Celery worker consumes. The queues of other lanes never change."""

    def __init__(self, worker: Any, wanted: Callable[[], Collection[str]]) -> None:
        """Store the worker, and the function that returns the names of the queues to consume now."""
        self._worker, self._wanted = worker, wanted

    def select(self) -> None:
        """Select the wanted queues before Celery's consumer exists, so that it starts with them."""
        queues = self._worker.app.amqp.queues
        wanted = self._wanted()
        queues.deselect(sorted(self._consumed.difference(wanted)))
        for name in wanted:
            queues.select_add(name, exchange=name, exchange_type="direct", routing_key=name)

    def follow(self) -> None:
        """
        Make the running consumer consume the queues that are wanted now. Any thread may call this, at any time.

        The consumer changes its queues in its own loop. If a reconnection prevents the change, the next call makes it.
        """
        consumer = self._worker.consumer
        if consumer is not None and self._consumed != set(self._wanted()):
            consumer.call_soon(self._change, consumer)

    def _change(self, consumer: Any) -> None:
        wanted = set(self._wanted())
        for name in sorted(wanted - self._consumed):
            consumer.add_task_queue(name)
        for name in sorted(self._consumed - wanted):
            # Celery may still read a message from this queue and return it; rescue repeats it if nobody claims it.
            consumer.cancel_task_queue(name)

    @property
    def _consumed(self) -> set[str]:
        return {name for name in list(self._worker.app.amqp.queues.consume_from) if lane_of(name) == "edits"}
