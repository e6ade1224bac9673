"""Sends a webhook over a guarded session. The body is signed anew in each attempt."""

from __future__ import annotations

import time
from collections.abc import Mapping

import requests

from retouch.egress.http import Answer, Trouble, send
from retouch.egress.webhook_body import event_body
from retouch.json_types import Document
from retouch.store.receivers import Receiver
from retouch.webhooks import sign

CONNECT_TIMEOUT_S, TIMEOUT_S = 5.0, 15.0
EXCERPT_BYTES = 4_096


def post_webhook(
    session: requests.Session,
    receiver: Receiver,
    identity: str,
    event: Document,
    headers: Mapping[str, str] | None = None,
) -> Answer | Trouble:
    """
    POST an event to a receiver; return the answer, or the `Trouble` that prevented it.

    `identity` is the event's id, the same in all attempts. `headers` are sent too; the signature does not cover them.
    No redirect is followed, and at most 4 KiB of the answer are read. The session must come from `make_session`, with
    the private networks of the settings.
    """
    now, body = time.time(), event_body(event)
    signed = {"Content-Type": "application/json", **sign(body, identity, int(now), receiver.signing_keys(now))}
    return send(
        session,
        "POST",
        receiver.url,
        data=body,
        headers={**(headers or {}), **signed},
        timeout_s=TIMEOUT_S,
        connect_timeout_s=CONNECT_TIMEOUT_S,
        max_bytes=EXCERPT_BYTES,
        truncate=True,
    )
