"""Sends a test event to a receiver, for the command line and for the gateway."""

from __future__ import annotations

import secrets
import time

from retouch.egress.http import make_session
from retouch.egress.webhook import post_webhook
from retouch.events import iso
from retouch.store.receivers import Receiver
from retouch_producer.documents import Document

_CONNECTIONS = 1


def send_test_event(receiver: Receiver, private_networks: tuple[str, ...]) -> Document:
    """
    Send a signed test event and return a report with the receiver's answer; `accepted` is true for a status 2xx.

    As for every event, the addresses of the receiver are vetted. They must be public or inside `private_networks`.
    """
    with make_session(private_networks, _CONNECTIONS) as session:
        answer = post_webhook(session, receiver, f"evt_test_{secrets.token_hex(8)}", _test_event(receiver))
    status = getattr(answer, "status", None)
    return {
        "receiver": receiver.id,
        "accepted": status is not None and 200 <= status < 300,
        "status": status,
        "trouble": getattr(answer, "kind", None),
        "answer": getattr(answer, "body", b"").decode(errors="replace") or getattr(answer, "detail", ""),
        "latency_s": round(answer.elapsed_s, 3),
    }


def _test_event(receiver: Receiver) -> Document:
    data = {"receiver_id": receiver.id, "tenant": receiver.tenant, "message": "A test of Retouch; no job is behind it."}
    return {"type": "receiver.test", "timestamp": iso(time.time()), "data": data}
