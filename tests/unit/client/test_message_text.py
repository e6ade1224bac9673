"""The text of our messages equals the text that Celery and kombu would write."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Producer

from retouch.broker import make_app
from retouch.publisher import TASKS, Envelope, lane_of
from retouch.settings import Settings


@pytest.fixture
def app() -> Celery:
    return make_app(Settings())


def by_kombu(app: Celery, lane: str, item: str, identity: str) -> dict[str, Any]:
    """Return the message that kombu sends to its in-memory transport, as a dict."""
    message = app.amqp.as_task_v2(identity, TASKS[lane_of(lane)], args=(item,), ignore_result=True, origin="here")
    with Connection("memory://") as connection, connection.channel() as channel:
        channel.queue_declare(lane)
        Producer(channel).publish(
            message.body,
            exchange="",
            routing_key=lane,
            serializer="json",
            headers=message.headers,
            **message.properties,
        )
        raw: dict[str, Any] = channel._get(lane)
    return raw


@pytest.mark.parametrize("lane", [*TASKS, "edits.main-2"])
def test_a_message_is_what_kombu_writes(app: Celery, lane: str) -> None:
    """Each member of our message equals that of kombu's message, except for the delivery tag, which is random."""
    ours = json.loads(Envelope(lane).around("ed_17"))
    theirs = by_kombu(app, lane, "ed_17", ours["headers"]["id"])
    theirs["headers"]["origin"] = ours["headers"]["origin"]
    theirs["properties"]["delivery_tag"] = ours["properties"]["delivery_tag"]
    assert ours == theirs


def test_messages_for_one_item_differ() -> None:
    """Messages for the same job have different task ids, so that Flower shows each message as a task."""
    envelope = Envelope("edits")
    ids = {json.loads(envelope.around("ed_17"))["headers"]["id"] for _ in range(100)}
    assert len(ids) == 100
    assert all(identity.startswith("ed_17-") for identity in ids)
