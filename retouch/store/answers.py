"""Answers of the endpoint: their raw text, which the store keeps, and the consequences of recording an answer."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from retouch.store.scripts import Message

RAW_ANSWER_MOST_BYTES = 4_096
"""The most bytes of an answer's text that are kept: it is in the memory of Redis for as long as the job's record."""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """
    An answer of the endpoint to a POST or to a poll: its HTTP status, and its body as text.

    The text may hold the caller's prompt and links to pictures. Therefore it is never logged, and only people who may
    see the job may see it. API keys in it are masked. `is_cut` is true if the body was longer than the text. `fence` is
    the number of the lease under which the POST was sent; it is 0 until the answer is on record.
    """

    status: int
    text: str = field(repr=False)
    is_cut: bool = False
    fence: int = 0

    def to_json(self, fence: int) -> str:
        """Return the answer as JSON for the store. `fence` is the number of the lease under which the POST was sent."""
        return json.dumps({**asdict(self), "fence": fence}, separators=(",", ":"), ensure_ascii=False)


def raw_answer_from(text: str | None) -> RawAnswer | None:
    """Return the answer that `to_json` wrote, or None for no text."""
    return RawAnswer(**json.loads(text)) if text else None


class RecordedAnswer(NamedTuple):
    """
    The consequences of an answer that was recorded.

    The caller must send `messages`. `open_s` is the number of seconds for which the answer opened the account's
    breaker, 0 if it did not. `event` is `account.closed` or `account.opened` if the answer closed or opened the
    account, else empty.
    """

    messages: list[Message]
    open_s: float
    event: str
