"""Sends an event: as a signed webhook over the guarded session, or as a Celery task by name."""

from __future__ import annotations

import json
import time
from typing import Any

from celery import Celery
from kombu.exceptions import KombuError

from retouch.events import Event
from retouch.outside.http import Answer, make_session, send
from retouch.settings import Settings
from retouch.store.receivers import Receiver
from retouch.webhooks import sign
from worker.deliveries.schedule import Told

CONNECT_TIMEOUT_S, TIMEOUT_S = 5.0, 15.0
EXCERPT_BYTES = 4_096
BODY_MOST_BYTES = 20_000
_PROMPT_SHORT = 1_000


class Sender:
    """Sends events to receivers; one for a worker process, safe to share between threads."""

    def __init__(self, settings: Settings, *, connections: int) -> None:
        self._session = make_session(settings.dangerous_allow_private_networks, connections)
        # The backend's own app reads its queues without our key prefix, so its tasks go through an app without one.
        self._callbacks = Celery("retouch-callbacks", set_as_current=False, broker=settings.broker)
        self._callbacks.conf.broker_transport_options = {"socket_timeout": 5.0, "socket_connect_timeout": 5.0}

    def webhook(self, receiver: Receiver, identity: str, event: Event) -> Told:
        """POST the event, signed for this attempt, and tell what came of it. Never raises; follows no redirect."""
        now = time.time()
        body = event_body(event)
        headers = {"Content-Type": "application/json", **sign(body, identity, int(now), receiver.signing_keys(now))}
        answer = send(
            self._session, "POST", receiver.url, data=body, headers=headers, timeout_s=TIMEOUT_S,
            connect_timeout_s=CONNECT_TIMEOUT_S, max_bytes=EXCERPT_BYTES, truncate=True,
        )  # fmt: skip
        if isinstance(answer, Answer):
            excerpt = answer.body.decode(errors="replace")
            return Told(answer.status, "", answer.headers.get("Retry-After", ""), excerpt, answer.elapsed_s)
        return Told(None, answer.kind, excerpt=answer.detail, elapsed_s=answer.elapsed_s)

    def callback(self, task: str, event: Event) -> Told:
        """Send a task of the backend's own app (`name@queue`), with the event as its only argument."""
        name, _, queue = task.partition("@")
        started = time.monotonic()
        try:
            self._callbacks.send_task(name, args=[event], queue=queue, ignore_result=True, retry=False)
        except (KombuError, OSError) as error:
            return Told(None, "broker", excerpt=type(error).__name__, elapsed_s=time.monotonic() - started)
        return Told(200, elapsed_s=time.monotonic() - started)


def event_body(event: Event) -> bytes:
    """Write an event for the wire, at most 20 kB: beyond that the prompt is cut and `extra` left out."""
    body = _dumps(event)
    if len(body) <= BODY_MOST_BYTES:
        return body
    edit = {name: value for name, value in event["data"]["edit"].items() if name != "extra"}
    short = {**edit, "prompt": edit["prompt"][:_PROMPT_SHORT] + "…", "truncated": True}
    return _dumps({**event, "data": {**event["data"], "edit": short}})


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
