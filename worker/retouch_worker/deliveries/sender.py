"""Sends an event as a signed webhook, or as a task to the Celery app of the backend."""

from __future__ import annotations

import time

from celery import Celery
from kombu.exceptions import KombuError

from retouch.egress.http import Answer, make_session
from retouch.egress.webhook import post_webhook
from retouch.events import Event
from retouch.settings import Settings
from retouch.store.receivers import Receiver
from retouch.tracing import OFF, Tracing
from retouch_worker.deliveries.schedule import DeliveryOutcome


class Sender:
    """Sends events to receivers. There is one per worker process; threads may share it."""

    def __init__(self, settings: Settings, *, connections: int, tracing: Tracing = OFF) -> None:
        self._tracing = tracing
        self._session = make_session(settings.dangerous_allow_private_networks, connections)
        # The backend's Celery app reads queues without our key prefix, so its tasks are sent by an app without one.
        self._callbacks = Celery("retouch-callbacks", set_as_current=False, broker=settings.broker)
        self._callbacks.conf.broker_transport_options = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}

    def webhook(self, receiver: Receiver, identity: str, event: Event) -> DeliveryOutcome:
        """
        POST an event with a new signature, and return the outcome. This raises nothing and follows no redirect.

        `identity` is the event's id, which is sent as the header `webhook-id`.
        """
        answer = post_webhook(self._session, receiver, identity, event, self._tracing.headers())
        if isinstance(answer, Answer):
            excerpt = answer.body.decode(errors="replace")
            return DeliveryOutcome(answer.status, "", answer.headers.get("Retry-After", ""), excerpt, answer.elapsed_s)
        return DeliveryOutcome(None, answer.kind, excerpt=answer.detail, elapsed_s=answer.elapsed_s)

    def callback(self, task: str, event: Event) -> DeliveryOutcome:
        """
        Send an event as a Celery task to the backend's own app, and return the outcome.

        `task` is `name@queue`. The event is the only argument of the task. If the broker accepts the task, the status
        is 200. If the broker does not answer, the outcome has the trouble `broker`.
        """
        name, _, queue = task.partition("@")
        started = time.monotonic()
        try:
            # Celery's own instrumentation, if the backend has it, reads the same header from the message.
            trace = self._tracing.headers() or None
            self._callbacks.send_task(name, args=[event], queue=queue, ignore_result=True, retry=False, headers=trace)
        except (KombuError, OSError) as error:
            return DeliveryOutcome(None, "broker", excerpt=type(error).__name__, elapsed_s=time.monotonic() - started)
        return DeliveryOutcome(200, elapsed_s=time.monotonic() - started)
