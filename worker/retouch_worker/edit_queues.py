"""Which queues of lane `edits` a Celery worker consumes: those of the accounts that it holds, also as they change."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from retouch.publisher import lane_of


class EditQueues:
    """The queues of lane `edits` of one Celery worker; its queues of other lanes are left alone."""

    def __init__(self, worker: Any, wanted: Callable[[], Collection[str]]) -> None:
        """`wanted` returns the names of the queues that are to be consumed at the moment of the call."""
        self._worker, self._wanted = worker, wanted

    def select(self) -> None:
        """Consume the wanted queues from the start on; for the time before Celery's consumer is there."""
        queues = self._worker.app.amqp.queues
        wanted = self._wanted()
        queues.deselect(sorted(self._consumed.difference(wanted)))
        for name in wanted:
            queues.select_add(name, exchange=name, exchange_type="direct", routing_key=name)

    def follow(self) -> None:
        """
        Have the consumer follow what is wanted now. May be called from any thread, and as often as wished.

        The change is made in the consumer's own loop. One that a reconnection swallows is made by the next call.
        """
        consumer = self._worker.consumer
        if consumer is not None and self._consumed != set(self._wanted()):
            consumer.call_soon(self._change, consumer)

    def _change(self, consumer: Any) -> None:
        wanted = set(self._wanted())
        for name in sorted(wanted - self._consumed):
            consumer.add_task_queue(name)
        for name in sorted(self._consumed - wanted):
            # A message that is read from it all the same goes back to it; rescue sends again what nobody claims.
            consumer.cancel_task_queue(name)

    @property
    def _consumed(self) -> set[str]:
        return {name for name in list(self._worker.app.amqp.queues.consume_from) if lane_of(name) == "edits"}
