"""
Writes and sends one Celery message for each dispatched item (a job or a delivery), without importing Celery.

Celery and kombu would build an exchange and an envelope for each message. That takes ten times as long as the LPUSH
that sends the message, and every producer would have to import Celery. Here the text of a message is made once, since
messages differ only in their ids. `tests/unit/client/test_message_text.py` checks that this text is the same as the
text of Celery and kombu.
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

from retouch.accounts import DEFAULT_ACCOUNT
from retouch.redis_without_sdk import redis
from retouch.settings import Settings
from retouch.store.redis_client import connect_to_broker
from retouch.store.redis_commands import Client
from retouch.store.scripts import Message

TASKS = {"edits": "retouch.edit", "deliveries": "retouch.deliver"}
"""
Lane → the Celery task of its messages. A lane's queue has the lane's name; the queue of one account is `edits.ACCOUNT`.
"""

KEY_PREFIX = "rt:broker:"
"""The prefix of all keys of the broker."""

_LONGEST_LIST = 4_000  # messages, if nobody consumes a lane; rescue sends again those that are still needed
_REST_S = 2.0  # pause after a broker did not answer; rescue takes as long to send a message again
_ID, _ITEM, _BODY = "@id@", "@item@", "@body@"  # placeholders in the text of a message


class Publisher:
    """
    Sends messages with LPUSH on a kept connection.

    If several threads publish at the same time, one of them sends the messages of all. Rescue sends a lost message
    again. A message may be sent twice: the second one finds nothing to claim.
    """

    def __init__(self, settings: Settings, on_loss: Callable[[int, BaseException], None] = lambda *_: None) -> None:
        """
        `on_loss` is called with the number of lost messages and the error.

        When the broker does not answer, this happens at once. The messages of the next two seconds are lost too; the
        first `publish` after that time, or `close`, reports them together.
        """
        self._settings, self._on_loss, self._rests_until = settings, on_loss, 0.0
        self._unreported, self._error = 0, BaseException()
        self._pending: deque[Message] = deque()
        self._sending = threading.Lock()
        self._envelopes = dict[str, Envelope]()

    def publish(self, messages: Sequence[Message]) -> None:
        """
        Send one message for each (lane, item). A lane may also be the queue of one account: `edits.ACCOUNT`.

        Failure policy: if the broker does not answer within `redis_timeout_s`, the messages are dropped without an
        error. For the next two seconds all messages are dropped at once, so that callers do not wait again. If nobody
        consumes a lane, the oldest messages of a long list are dropped. No work is lost: it is in the store, and rescue
        sends its messages again within seconds.
        """
        self._pending.extend(messages)
        # Checked again after each release: a thread that did not get the lock has left its messages in the queue.
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
            self._report_loss()

    def _send_all(self) -> None:
        by_lane: dict[str, list[str]] = {}
        while self._pending:
            lane, item = self._pending.popleft()
            envelope = self._envelopes.get(lane) or self._envelopes.setdefault(lane, Envelope(lane))
            by_lane.setdefault(lane, []).append(envelope.around(item))
        # The queue has been emptied in any case: messages for a broker that does not answer must not pile up.
        count = sum(map(len, by_lane.values()))
        if time.monotonic() < self._rests_until:
            self._unreported += count
            return
        self._report_loss()
        try:
            # LPUSH returns the length of the list, so no other command is needed to notice that a list grows.
            for lane, texts in by_lane.items():
                if self._client.lpush(KEY_PREFIX + lane, *texts) > _LONGEST_LIST:
                    self._client.ltrim(KEY_PREFIX + lane, 0, _LONGEST_LIST // 2 - 1)
        except (redis.RedisError, OSError) as error:
            self._rests_until = time.monotonic() + _REST_S
            self._unreported, self._error = count, error
            self._report_loss()

    def _report_loss(self) -> None:
        if self._unreported:
            count, self._unreported = self._unreported, 0
            self._on_loss(count, self._error)

    @cached_property
    def _client(self) -> Client:
        return connect_to_broker(self._settings)


def queue_of(account: str) -> str:
    """Return the queue for jobs of an account: `edits` for the account `default`, `edits.ACCOUNT` for any other."""
    return "edits" if account == DEFAULT_ACCOUNT else f"edits.{account}"


def lane_of(queue: str) -> str:
    """Return the lane of a queue: `edits` for `edits` and for each `edits.ACCOUNT`."""
    return queue.partition(".")[0]


class Envelope:
    """The text of a queue's messages (Celery's protocol 2 in kombu's envelope), with placeholders for the ids."""

    def __init__(self, lane: str) -> None:
        self._text = json.dumps(_envelope(lane))
        self._body = json.dumps([[_ITEM], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))])

    def around(self, item: str) -> str:
        """Return the text of the message for one item."""
        # The task id begins with the item, so that Flower shows which job it is about.
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
        # The anonymous exchange needs no binding, which kombu would look up and a flushed broker would lose.
        "delivery_info": {"exchange": "", "routing_key": lane},
        "priority": 0,
        "delivery_mode": 2,
        "body_encoding": "base64",
        "delivery_tag": _ID,
    }
    kind = {"content-encoding": "utf-8", "content-type": "application/json"}
    return {"body": _BODY, **kind, "headers": headers, "properties": properties}
