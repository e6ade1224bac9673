"""Sends an event as a signed webhook, or as a Celery task of the backend's own app."""

from __future__ import annotations

import time

from celery import Celery
from kombu.exceptions import KombuError

from retouch.egress.http import Answer, make_session
from retouch.egress.webhook import post_webhook
from retouch.events import Event
from retouch.settings import Settings
from retouch.store.receivers import Receiver
from retouch_worker.deliveries.schedule import DeliveryOutcome


class Sender:
    """Sends events to receivers. One per worker process; safe to share between threads."""

    def __init__(self, settings: Settings, *, connections: int) -> None:
        self._session = make_session(settings.dangerous_allow_private_networks, connections)
        # The backend's own app reads its queues without our key prefix, so its tasks go through an app without one.
        self._callbacks = Celery("retouch-callbacks", set_as_current=False, broker=settings.broker)
        self._callbacks.conf.broker_transport_options = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}

    def webhook(self, receiver: Receiver, identity: str, event: Event) -> DeliveryOutcome:
        """POST the event, signed for this attempt, and return the outcome. Never raises; follows no redirect."""
        answer = post_webhook(self._session, receiver, identity, event)
        if isinstance(answer, Answer):
            excerpt = answer.body.decode(errors="replace")
            return DeliveryOutcome(answer.status, "", answer.headers.get("Retry-After", ""), excerpt, answer.elapsed_s)
        return DeliveryOutcome(None, answer.kind, excerpt=answer.detail, elapsed_s=answer.elapsed_s)

    def callback(self, task: str, event: Event) -> DeliveryOutcome:
        """Send a task to the backend's own app; `task` is `name@queue`, its only argument is the event."""
        name, _, queue = task.partition("@")
        started = time.monotonic()
        try:
            self._callbacks.send_task(name, args=[event], queue=queue, ignore_result=True, retry=False)
        except (KombuError, OSError) as error:
            return DeliveryOutcome(None, "broker", excerpt=type(error).__name__, elapsed_s=time.monotonic() - started)
        return DeliveryOutcome(200, elapsed_s=time.monotonic() - started)
