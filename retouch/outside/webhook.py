"""The one way in which a webhook leaves: the event's bytes, signed for this attempt, over the guarded session."""

from __future__ import annotations

import json
import time
from typing import Any

import requests

from retouch.events import Event
from retouch.outside.http import Answer, Trouble, send
from retouch.store.receivers import Receiver
from retouch.webhooks import sign

CONNECT_TIMEOUT_S, TIMEOUT_S = 5.0, 15.0
EXCERPT_BYTES = 4_096
BODY_MOST_BYTES = 20_000
_PROMPT_SHORT = 1_000


def post_webhook(session: requests.Session, receiver: Receiver, identity: str, event: Event) -> Answer | Trouble:
    """
    POST an event to a receiver; `identity` is the event's, the same over all attempts. Follows no redirect.

    At most 4 KiB of the answer are read. Make the session with `make_session` and the networks of the settings.
    """
    now, body = time.time(), event_body(event)
    headers = {"Content-Type": "application/json", **sign(body, identity, int(now), receiver.signing_keys(now))}
    return send(
        session, "POST", receiver.url, data=body, headers=headers, timeout_s=TIMEOUT_S,
        connect_timeout_s=CONNECT_TIMEOUT_S, max_bytes=EXCERPT_BYTES, truncate=True,
    )  # fmt: skip


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
