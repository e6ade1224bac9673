"""Our signatures and those of two independent libraries verify each other, and a changed request does not verify."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
import standardwebhooks
import svix
from hypothesis import given
from hypothesis import strategies as st

from retouch import WebhookNotVerified, verify_webhook
from retouch.store.receivers import Receiver
from retouch.webhooks import new_secret, sign

BODY = json.dumps({"type": "edit.succeeded", "data": {"tags": {"stadt": "Zürich"}}}, ensure_ascii=False).encode()
SECRET, OTHER = new_secret(), new_secret()
NOW = 1_700_000_000


@pytest.fixture(params=["standardwebhooks", "svix"])
def library(request: pytest.FixtureRequest) -> Any:
    return {"standardwebhooks": standardwebhooks.Webhook, "svix": svix.Webhook}[request.param]


def test_what_we_sign_is_verified_elsewhere(library: Any) -> None:
    """Both independent libraries verify a body that we signed."""
    assert library(SECRET).verify(BODY, sign(BODY, "evt_1", int(time.time()), [SECRET])) in (json.loads(BODY), None)


def test_both_keys_sign_during_a_rotation(library: Any) -> None:
    """A request that is signed with two secrets verifies with each of them."""
    headers = sign(BODY, "evt_1", int(time.time()), [SECRET, OTHER])
    for secret in (SECRET, OTHER):
        assert library(secret).verify(BODY, headers) in (json.loads(BODY), None)
        assert verify_webhook(BODY, headers, secret) == json.loads(BODY)


def test_another_secret_does_not_verify_elsewhere(library: Any) -> None:
    """The libraries refuse a signature made with another secret."""
    with pytest.raises(Exception, match="No matching signature"):
        library(OTHER).verify(BODY, sign(BODY, "evt_1", int(time.time()), [SECRET]))


def test_what_others_sign_is_verified_here() -> None:
    """`verify_webhook` accepts signatures made by `standardwebhooks` and by `svix`."""
    from datetime import UTC, datetime

    now = datetime.now(UTC)
    stamp = str(int(now.timestamp()))
    for signature in (
        standardwebhooks.Webhook(SECRET).sign("evt_1", now, BODY.decode()),
        svix.Webhook(SECRET).sign("evt_1", now, BODY.decode()),
    ):
        headers = {"Webhook-Id": "evt_1", "Webhook-Timestamp": stamp, "Webhook-Signature": f"v1a,abc {signature}"}
        assert verify_webhook(BODY, headers, SECRET) == json.loads(BODY)


@given(st.binary(max_size=200), st.text("abcdefghij_-", min_size=1), st.integers(0, 2**33))
def test_any_bytes_are_signed_as_they_are(body: bytes, identity: str, stamp: int) -> None:
    """A signed body verifies with exactly the same bytes, and does not verify with one more byte."""
    text = json.dumps([body.hex()]).encode()
    headers = sign(text, identity, stamp, [SECRET])
    assert list(verify_webhook(text, headers, SECRET, now=stamp)) == [body.hex()]
    with pytest.raises(WebhookNotVerified):
        verify_webhook(text + b" ", headers, SECRET, now=stamp)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "evt_2"},
        {"webhook-timestamp": str(NOW + 1)},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": ""},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v1," + base64.b64encode(b"x" * 32).decode()},
        {"webhook-signature": "v1,Zürich"},
    ],
)
def test_a_changed_header_does_not_verify(change: dict[str, str]) -> None:
    """A request with a changed id, timestamp or signature is refused, and the error does not contain the secret."""
    headers = {**sign(BODY, "evt_1", NOW, [SECRET]), **change}
    with pytest.raises(WebhookNotVerified) as caught:
        verify_webhook(BODY, headers, SECRET, now=NOW)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_does_not_verify(missing: str) -> None:
    """A request without one of the three headers is refused, and the error names the header."""
    headers = sign(BODY, "evt_1", NOW, [SECRET])
    del headers[missing]
    with pytest.raises(WebhookNotVerified, match=missing):
        verify_webhook(BODY, headers, SECRET, now=NOW)


@pytest.mark.parametrize("away_s", [-301, 301])
def test_an_old_or_future_request_does_not_verify(away_s: int) -> None:
    """A request whose timestamp is more than five minutes away from now, in the past or the future, is refused."""
    headers = sign(BODY, "evt_1", NOW, [SECRET])
    with pytest.raises(WebhookNotVerified, match="s old"):
        verify_webhook(BODY, headers, SECRET, now=NOW + away_s)
    assert verify_webhook(BODY, headers, SECRET, now=NOW + 299) == json.loads(BODY)


def test_a_signed_body_that_is_no_json_is_not_verified() -> None:
    """A correctly signed body that is not JSON raises `WebhookNotVerified`."""
    with pytest.raises(WebhookNotVerified):
        verify_webhook(b"<html>", sign(b"<html>", "evt_1", NOW, [SECRET]), SECRET, now=NOW)


def test_a_secret_has_the_form_of_the_standard() -> None:
    """A new secret is `whsec_` and 32 random bytes in base64; two secrets differ."""
    assert len(base64.b64decode(SECRET.removeprefix("whsec_"), validate=True)) == 32
    assert SECRET.startswith("whsec_")
    assert SECRET != OTHER


def test_the_old_secret_signs_until_its_time_is_over() -> None:
    """
    A receiver signs with both secrets until `old_until`, and then only with the new secret. The `repr` contains no
    secret and no address.
    """
    receiver = Receiver("rc_1", "acme", "https://a.example/hook", SECRET, OTHER, old_until=100.0)
    assert receiver.signing_keys(99.0) == [SECRET, OTHER]
    assert receiver.signing_keys(100.0) == [SECRET]
    assert SECRET not in repr(receiver)
    assert "a.example" not in repr(receiver)
