"""The endpoint client removes keys, addresses and prompts from the endpoint's answers."""

from __future__ import annotations

import json

import pytest

from retouch import Settings
from retouch.outcomes import Failed, Processing, Refused
from retouch.store.answers import RawAnswer
from retouch.store.records import JobSpec
from retouch_worker.edits.credentials import Credentials
from retouch_worker.edits.endpoint import Endpoint, Endpoints
from tests.integration.faulty_servers import LOOPBACK, RawServer, answer, answering

KEY = "sk/live+0123456789"
URL = "https://customer.example/private/in.png?token=planted"
SPEC = JobSpec("acme", {"prompt": "a secret wedding", "init_image": URL}, 3_600.0)
WORDS = f"Unable to fetch image from {URL} for a secret wedding with {KEY}"
SHOWN = "Unable to fetch image from [link] for [prompt] with [key]"


def endpoint_at(server: RawServer) -> Endpoint:
    settings = Settings.load(
        pix2pix_url=server.url("/p"),
        pix2pix_fetch_url=server.url("/f"),
        pix2pix_key=KEY,
        dangerous_allow_private_networks=LOOPBACK[0],
    )
    endpoint = Endpoints(settings, Credentials(settings), connections=2).of("default")
    assert endpoint is not None
    return endpoint


@pytest.mark.parametrize("slash", ["/", "\\/", "\\u002f"])
def test_a_post_keeps_what_it_sent_to_itself(slash: str) -> None:
    """
    The outcome of a POST contains no key, address or prompt, even if the answer repeats them with JSON escapes.
    The raw answer contains no key.
    """
    body = json.dumps({"status": "error", "message": WORDS}).replace("/", slash).encode()
    with RawServer(answering(answer(body))) as server:
        outcome, _, raw = endpoint_at(server).post_edit(SPEC)
        assert KEY.encode() in server.requests[0]
    assert outcome == Refused("image_unfetchable", SHOWN)
    assert raw == RawAnswer(200, json.dumps({"status": "error", "message": WORDS.replace(KEY, "[key]")}))


def test_a_poll_keeps_what_it_sent_to_itself() -> None:
    """The outcome of a poll contains the endpoint's message without the key, address and prompt."""
    body = json.dumps({"status": "failed", "message": WORDS}).encode()
    with RawServer(answering(answer(body))) as server:
        outcome, raw = endpoint_at(server).poll(Processing("1", server.url("/f/1"), 0.0), SPEC, 1.0)
    assert outcome == Failed(SHOWN, seen_by_poll=True)
    assert raw is not None
    assert KEY not in raw.text
