"""
Makes the Celery app from the settings. Processes that run or watch tasks need the app; producers do not.

Celery carries messages and runs tasks. The store, not Celery, records which jobs wait, which may run, and which charges
were made. A comment beside an option states which failure the option prevents.
"""

from __future__ import annotations

from celery import Celery
from kombu import Exchange, Queue

from retouch.publisher import KEY_PREFIX, TASKS
from retouch.settings import Settings

_MOST_CONNECTIONS = 2_000


def make_app(settings: Settings) -> Celery:
    """Return the Celery app of one process. It connects when first used and does not become Celery's current app."""
    app = Celery("retouch", set_as_current=False, broker=settings.broker)
    app.conf.update(
        # Nothing but JSON is read: a pickled message would run code.
        task_serializer="json",
        accept_content=["json"],
        # No result backend: results are in the store, and a second record of them would disagree with it one day.
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
        task_send_sent_event=False,  # it would cost one more Redis command for each message, and nobody listens
        worker_cancel_long_running_tasks_on_connection_loss=False,  # a paid call must end, whatever Redis does
        broker_channel_error_retry=True,  # a broker that refuses writes for a while must not end it either
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # after an hour without Redis nobody should have to restart workers
        broker_transport_options={
            "global_keyprefix": KEY_PREFIX,
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
