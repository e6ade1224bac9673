"""
The Celery app as a function of settings, and the publisher that sends one message for each dispatched item.

Celery carries messages and runs tasks; what is waiting, who may run and what was paid is in the store. Each option
below is explained by the failure that it prevents.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from functools import cached_property

from celery import Celery
from celery.utils import uuid
from celery.utils.nodenames import anon_nodename
from kombu import Connection, Exchange, Producer, Queue
from kombu.exceptions import BatchPublishError

from retouch.settings import Settings
from retouch.store.scripts import Message

TASKS = {"edits": "retouch.edit", "deliveries": "retouch.deliver"}
"""Lane → the task that its messages name. The queue has the lane's name."""

_MOST_CONNECTIONS = 2_000
_ORIGIN = anon_nodename()


def make_app(settings: Settings) -> Celery:
    """Make the Celery app of one process. It connects when first used and is nobody's current app."""
    app = Celery("retouch", set_as_current=False, broker=settings.broker)
    app.conf.update(
        # Nothing but JSON is read: a pickled message would run code.
        task_serializer="json",
        accept_content=["json"],
        # No result backend: the store is the only truth, and a second one would disagree with it one day.
        task_ignore_result=True,
        # A message is acknowledged when it is read. Late acks would run a job again after the visibility timeout while
        # it still runs; leases in the store recover a killed worker's jobs within seconds.
        task_acks_late=False,
        worker_prefetch_multiplier=1,  # a worker must not hoard messages that another could run
        task_queues=[Queue(lane, Exchange(lane), routing_key=lane) for lane in TASKS],
        task_create_missing_queues=False,  # a misspelt queue is an error, not a place where jobs vanish
        task_routes={task: {"queue": lane} for lane, task in TASKS.items()},
        worker_hijack_root_logger=False,  # logging is ours: Celery's would print arguments
        worker_redirect_stdouts=False,
        worker_enable_remote_control=True,  # Flower needs it
        worker_send_task_events=True,
        task_send_sent_event=False,  # one Redis command more for each message, told by nobody
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a paid call must end, whatever Redis does
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # an hour without Redis must not need a hand afterwards
        broker_transport_options={
            "global_keyprefix": "rt:broker:",
            "queue_order_strategy": "round_robin",  # sorted and priority orders starve the second queue
            "socket_timeout": max(settings.redis_timeout_s, 5.0),  # must exceed the blocking read of 1 s
            "socket_connect_timeout": settings.redis_timeout_s,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "max_connections": _MOST_CONNECTIONS,  # kombu's default of 10 stalls the lanes silently
        },
        broker_pool_limit=None,
        broker_heartbeat=None,
    )
    return app


class Publisher:
    """
    Sends messages, at the price of one kept connection.

    Threads that publish at the same time are served by one of them, in one pipeline. A message that is lost, or sent
    twice because a reply was lost, does no harm: rescue sends again, and a second claim finds nothing.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._pending: deque[Message] = deque()
        self._sending = threading.Lock()
        self._producer: Producer | None = None

    def publish(self, messages: Sequence[Message]) -> None:
        """
        Send one message for each (lane, item).

        Failure policy: when the broker does not answer, the messages are dropped without an error, for the work they
        call for is in the store and rescue sends them again within seconds.
        """
        self._pending.extend(messages)
        while self._pending and self._sending.acquire(blocking=False):
            try:
                self._send_all()
            finally:
                self._sending.release()

    def _send_all(self) -> None:
        batch = []
        while self._pending:
            batch.append(self._pending.popleft())
        try:
            producer = self._kept_producer()
            with producer.batch(max_size=100):
                for lane, item in batch:
                    self._send(producer, lane, item)
        except self._lost:
            self._producer = None

    def _send(self, producer: Producer, lane: str, item: str) -> None:
        message = self._app.amqp.as_task_v2(uuid(), TASKS[lane], args=(item,), origin=_ORIGIN, ignore_result=True)
        # The anonymous exchange puts straight into the queue: no binding to look up, or to lose in a flushed broker.
        producer.publish(
            message.body, exchange="", routing_key=lane, serializer="json", headers=message.headers,
            **message.properties,
        )  # fmt: skip

    @cached_property
    def _lost(self) -> tuple[type[BaseException], ...]:
        connection = self._app.connection_for_write()
        return (*connection.connection_errors, *connection.channel_errors, BatchPublishError, OSError)

    def _kept_producer(self) -> Producer:
        if self._producer is None:
            connection: Connection = self._app.connection_for_write()
            self._producer = Producer(connection, auto_declare=False)
        return self._producer
