"""
Standard Webhooks 1.0: `sign` for the webhooks that we send, and `verify_webhook` for their receivers.

The format is that of the Standard Webhooks specification; `tests/unit/client/test_webhooks.py` checks both functions
against two independent libraries.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping, Sequence

from retouch.errors import RetouchError
from retouch.json_types import JsonObject

TOLERANCE_S = 300.0
_PREFIX = "whsec_"


class WebhookNotVerified(RetouchError):
    """The request is not from us, was changed on its way, or is too old. Answer it with 400 and ignore it."""


def new_secret() -> str:
    """Return a new secret for a receiver: `whsec_` and 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _signature(secret: str, identity: str, timestamp: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(_PREFIX))
    signed = f"{identity}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def sign(body: bytes, identity: str, timestamp: int, keys: Sequence[str]) -> dict[str, str]:
    """
    Return the three headers for one attempt to send `body`.

    `identity` is the event's id, which is the same in all attempts; `timestamp` is the time of this attempt, in whole
    Unix seconds. During a rotation `keys` has the new secret and the old one, and both sign.
    """
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(_signature(key, identity, timestamp, body) for key in keys),
    }


def verify_webhook(
    body: bytes, headers: Mapping[str, str], secret: str, *, tolerance_s: float = TOLERANCE_S, now: float | None = None
) -> JsonObject:
    """
    Check a webhook and return its event.

    `body` must be the raw request body, and not JSON that was parsed and written again. Header names may be in any
    case. `now` is in Unix seconds, by default the present time.

    Raise `WebhookNotVerified` if a header is missing, if no signature is valid, or if the body is not JSON. Raise it
    also if the timestamp is more than `tolerance_s` seconds from `now`: somebody may have recorded the request and sent
    it again.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    try:
        identity, stamp = lowered["webhook-id"], lowered["webhook-timestamp"]
        signatures, timestamp = lowered["webhook-signature"].split(" "), int(stamp)
    except (KeyError, ValueError) as fault:
        raise WebhookNotVerified(f"the webhook headers are missing or malformed: {fault}") from None
    age_s = (time.time() if now is None else now) - timestamp
    if abs(age_s) > tolerance_s:
        raise WebhookNotVerified(f"the timestamp is {age_s:.0f} s old, at most {tolerance_s:.0f} s are accepted")
    expected = _signature(secret, identity, timestamp, body)
    # Compared in constant time: how long a comparison takes must not show how much of a guess was right.
    if not any(hmac.compare_digest(expected.encode(), signature.encode()) for signature in signatures):
        raise WebhookNotVerified("no signature is valid for this body and secret")
    try:
        event: JsonObject = json.loads(body)
    except ValueError:
        raise WebhookNotVerified("the body is signed and is not JSON") from None
    return event
