"""
The publisher: one Celery message for each dispatched item, written and sent without Celery.

A message of ours never changes but for its ids, so its text stands here; `tests/unit/client/test_message_text.py` holds
it equal to what Celery and kombu write. Their way of publishing builds a Redis client, an exchange and an envelope for
each message, ten times the work of the LPUSH that sends it, and a producer would import them for nothing else.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property

import redis

from retouch.settings import Settings
from retouch.store.redis_client import Client, connect_to_broker
from retouch.store.scripts import Message

TASKS = {"edits": "retouch.edit", "deliveries": "retouch.deliver"}
"""Lane → the task that its messages name. The queue has the lane's name, or `edits.ACCOUNT` for one account's jobs."""

KEY_PREFIX = "rt:broker:"
"""Stands before the name of each of the broker's keys."""

_LONGEST_LIST = 4_000  # messages of a lane that nobody consumes; those that count are sent again by rescue
_REST_S = 2.0  # for a broker that did not answer: as long as rescue takes to miss a message
_ID, _ITEM, _BODY = "@id@", "@item@", "@body@"  # placeholders in the text of a message


class Publisher:
    """
    Sends messages, at the price of one LPUSH on a kept connection.

    Threads that publish at the same time are served by one of them. A message that is lost, or sent twice because a
    reply was lost, does no harm: rescue sends again, and a second claim finds nothing.
    """

    def __init__(self, settings: Settings, on_loss: Callable[[int, BaseException], None] = lambda *_: None) -> None:
        """`on_loss` is called with how many messages were dropped, and why."""
        self._settings, self._on_loss, self._rests_until = settings, on_loss, 0.0
        self._pending: deque[Message] = deque()
        self._sending = threading.Lock()
        self._envelopes = dict[str, Envelope]()

    def publish(self, messages: Sequence[Message]) -> None:
        """
        Send one message for each (lane, item); `edits.ACCOUNT` as the lane is the queue of one account.

        Failure policy: when the broker does not answer within `redis_timeout_s`, the messages are dropped without an
        error, and what comes in the next two seconds too, so that nobody waits for it again and again: the work they
        call for is in the store, and rescue sends them again within seconds. So it does for the oldest messages of a
        list that has grown long because nobody consumes its lane: they are cut off.
        """
        self._pending.extend(messages)
        while self._pending and self._sending.acquire(blocking=False):
            try:
                self._send_all()
            finally:
                self._sending.release()

    def close(self) -> None:
        """Close the connections; the next message connects again."""
        with self._sending:
            if "_client" in self.__dict__:
                self._client.close()

    def _send_all(self) -> None:
        by_lane: dict[str, list[str]] = {}
        while self._pending:
            lane, item = self._pending.popleft()
            envelope = self._envelopes.get(lane) or self._envelopes.setdefault(lane, Envelope(lane))
            by_lane.setdefault(lane, []).append(envelope.around(item))
        if time.monotonic() < self._rests_until:
            return
        try:
            for lane, texts in by_lane.items():
                if self._client.lpush(KEY_PREFIX + lane, *texts) > _LONGEST_LIST:
                    self._client.ltrim(KEY_PREFIX + lane, 0, _LONGEST_LIST // 2 - 1)
        except (redis.RedisError, OSError) as error:
            self._rests_until = time.monotonic() + _REST_S
            self._on_loss(sum(map(len, by_lane.values())), error)

    @cached_property
    def _client(self) -> Client:
        return connect_to_broker(self._settings)


def lane_of(queue: str) -> str:
    """Return the lane that a queue's messages belong to: `edits` for `edits` and for each `edits.ACCOUNT`."""
    return queue.partition(".")[0]


class Envelope:
    """The text of a queue's messages: Celery's protocol 2 in kombu's envelope, written once and then filled in."""

    def __init__(self, lane: str) -> None:
        self._text = json.dumps(_envelope(lane))
        self._body = json.dumps([[_ITEM], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))])

    def around(self, item: str) -> str:
        """Return the text of a message for one item. Its id begins with the item's, for whoever looks at Flower."""
        body = b64encode(self._body.replace(_ITEM, item).encode()).decode()
        identity = f"{item}-{random.getrandbits(48):012x}"
        return self._text.replace(_BODY, body).replace(_ID, identity).replace(_ITEM, item)


def _envelope(lane: str) -> dict[str, object]:
    unused = ("shadow", "eta", "expires", "group", "group_index", "parent_id", "stamped_headers")
    headers: dict[str, object] = {
        "lang": "py",
        "task": TASKS[lane_of(lane)],
        "id": _ID,
        "root_id": _ID,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": f"('{_ITEM}',)",
        "kwargsrepr": "{}",
        "origin": f"gen{os.getpid()}@{socket.gethostname()}",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamps": {},
        **dict.fromkeys(unused),
    }
    properties = {
        "correlation_id": _ID,
        "reply_to": "",
        # The anonymous exchange puts straight into the queue: no binding to look up, or to lose in a flushed broker.
        "delivery_info": {"exchange": "", "routing_key": lane},
        "priority": 0,
        "delivery_mode": 2,
        "body_encoding": "base64",
        "delivery_tag": _ID,
    }
    kind = {"content-encoding": "utf-8", "content-type": "application/json"}
    return {"body": _BODY, **kind, "headers": headers, "properties": properties}
