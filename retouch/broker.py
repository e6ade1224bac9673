"""
The Celery app as a function of settings, and the publisher that sends one message for each dispatched item.

Celery carries messages and runs tasks; what is waiting, who may run and what was paid is in the store. Each option
below is explained by the failure that it prevents.
"""

from __future__ import annotations

import json
import random
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import redis
from celery import Celery
from celery.utils.nodenames import anon_nodename
from kombu import Connection, Exchange, Queue
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from retouch.settings import Settings
from retouch.store.scripts import Message

TASKS = {"edits": "retouch.edit", "deliveries": "retouch.deliver"}
"""Lane → the task that its messages name. The queue has the lane's name."""

_MOST_CONNECTIONS = 2_000
_PREFIX = "rt:broker:"
_LONGEST_LIST = 4_000  # messages of a lane that nobody consumes; those that count are sent again by rescue
_REST_S = 2.0  # for a broker that did not answer: as long as rescue takes to miss a message
_ORIGIN = anon_nodename()
_ID, _ITEM, _BODY = "@id@", "@item@", "@body@"  # placeholders in the text of a message


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
        # Threads, also where --pool names none: leases are renewed by a thread of the process that runs the tasks, and
        # one process holds hundreds of waiting calls.
        worker_pool="threads",
        worker_concurrency=32,
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
        broker_channel_error_retry=True,  # nor may a broker that refuses writes for a while end the worker
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # an hour without Redis must not need a hand afterwards
        broker_transport_options={
            "global_keyprefix": _PREFIX,
            # Without kombu's record of unacknowledged messages: it costs two transactions for each message, and
            # returns a killed worker's messages after an hour; rescue sends them again after two seconds.
            "ack_emulation": False,
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
    Sends messages, at the price of one LPUSH on a kept connection.

    Threads that publish at the same time are served by one of them. A message that is lost, or sent twice because a
    reply was lost, does no harm: rescue sends again, and a second claim finds nothing.
    """

    def __init__(self, app: Celery, on_loss: Callable[[int, BaseException], None] = lambda *_: None) -> None:
        """`on_loss` is told how many messages were dropped, and why."""
        self._app, self._on_loss, self._rests_until = app, on_loss, 0.0
        self._pending: deque[Message] = deque()
        self._sending = threading.Lock()
        self._connection: Connection | None = None
        self._client: Any = None

    def publish(self, messages: Sequence[Message]) -> None:
        """
        Send one message for each (lane, item).

        Failure policy: when the broker does not answer within `redis_timeout_s`, the messages are dropped without an
        error, and what comes in the next two seconds too, so that nobody waits for it again and again: the work they
        call for is in the store, and rescue sends them again within seconds. So it does for the oldest messages of a
        list that has grown long because nobody consumes its lane: they are cut off.
        """
        self._pending.extend(messages)
        while self._pending and self._sending.acquire(blocking=False):
            try:
                self._send_all()
            finally:
                self._sending.release()

    def warm(self) -> None:
        """Write the envelopes ahead of the first message: it loads parts of Celery, for tens of milliseconds."""
        _ = self._envelopes

    def close(self) -> None:
        """Give up the connection; the next message connects again."""
        with self._sending:
            connection, self._connection, self._client = self._connection, None, None
        if connection is not None:
            connection.release()

    def _send_all(self) -> None:
        by_lane: dict[str, list[str]] = {}
        while self._pending:
            lane, item = self._pending.popleft()
            by_lane.setdefault(lane, []).append(self._envelopes[lane].around(item))
        if time.monotonic() < self._rests_until:
            return
        try:
            client = self._kept_client()
            for lane, texts in by_lane.items():
                if client.lpush(lane, *texts) > _LONGEST_LIST:
                    client.ltrim(_PREFIX + lane, 0, _LONGEST_LIST // 2 - 1)
        except self._lost as error:
            self._client, self._rests_until = None, time.monotonic() + _REST_S
            self._on_loss(sum(map(len, by_lane.values())), error)

    @cached_property
    def _envelopes(self) -> dict[str, Envelope]:
        return {lane: Envelope(self._app, lane) for lane in TASKS}

    @cached_property
    def _lost(self) -> tuple[type[BaseException], ...]:
        connection = self._app.connection_for_write()
        return (*connection.connection_errors, *connection.channel_errors, OSError, OperationalError)

    def _kept_client(self) -> Any:
        """Give kombu's own Redis client: it knows the prefix, the time limits, TLS and Sentinel of the broker's URL."""
        if self._client is None:
            self._connection = self._app.connection_for_write(transport_options=self._impatient)
            with self._connection.default_channel.conn_or_acquire() as client:
                # Once more for a connection that the broker has closed meanwhile, or that leads to a former primary.
                client.set_retry(Retry(NoBackoff(), 1, (redis.ConnectionError, redis.ReadOnlyError)))
                self._client = client
        return self._client

    @cached_property
    def _impatient(self) -> dict[str, Any]:
        """What is waited for is one LPUSH, not a message; and there is no pause before the second try to connect."""
        timeout_s = self._app.conf.broker_transport_options["socket_connect_timeout"]
        return {"socket_timeout": timeout_s, "max_retries": 1, "interval_start": 0.0}


class Envelope:
    """
    The text of a lane's messages, as Celery and kombu write it: made by them once, then filled in.

    kombu's way of publishing builds a Redis client, an exchange and an envelope for each message, ten times the work
    of the LPUSH that sends it.
    """

    def __init__(self, app: Celery, lane: str) -> None:
        message = app.amqp.as_task_v2(_ID, TASKS[lane], args=(_ITEM,), origin=_ORIGIN, ignore_result=True)
        # The anonymous exchange puts straight into the queue: no binding to look up, or to lose in a flushed broker.
        delivery = {"delivery_info": {"exchange": "", "routing_key": lane}, "priority": 0, "delivery_mode": 2}
        text = json.dumps({
            "body": _BODY,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": message.headers,
            "properties": {**message.properties, **delivery, "body_encoding": "base64", "delivery_tag": _ID},
        })  # fmt: skip
        self._body, self._text = json.dumps(message.body), text

    def around(self, item: str) -> str:
        """Give the text of a message for one item. Its id begins with the item's, for whoever looks at Flower."""
        body = b64encode(self._body.replace(_ITEM, item).encode()).decode()
        identity = f"{item}-{random.getrandbits(48):012x}"
        return self._text.replace(_BODY, body).replace(_ID, identity).replace(_ITEM, item)
