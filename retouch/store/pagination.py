"""
Reads pages of indexes that are sorted by time, newest first. A cursor points to one entry, even if several have the
same instant.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from retouch.store.redis_commands import Client

_STEP = 500


class IndexCursor(NamedTuple):
    """
    The position of an entry in an index that is sorted by time: its score and its id. As a text, it is the cursor that
    clients get.
    """

    at: float
    item: str

    def __str__(self) -> str:
        return f"{self.at:.3f}_{self.item}"


def cursor_from(cursor: str) -> IndexCursor:
    """Parse the text of a cursor; raise `ValueError` for any other text."""
    at, _, item = cursor.partition("_")
    if not (item and at.replace(".", "", 1).isdecimal() and at.isascii()):
        raise ValueError("expected the cursor of an earlier page")
    return IndexCursor(float(at), item)


def walk(
    client: Client, indexes: Sequence[str], *, since: float = 0.0, after: IndexCursor | None = None
) -> Iterator[IndexCursor]:
    """
    Merge indexes that are sorted by time, and yield their entries, newest first.

    Entries are at `since` or later (Unix seconds); with `after`, only entries that follow this cursor are yielded.
    """
    return heapq.merge(*(_walk_one(client, index, since, after) for index in indexes), reverse=True)


def _walk_one(client: Client, index: str, since: float, after: IndexCursor | None) -> Iterator[IndexCursor]:
    latest, start = f"{after.at:.3f}" if after else "+inf", 0
    while batch := client.zrevrangebyscore(index, latest, since, start=start, num=_STEP, withscores=True):
        start += len(batch)
        places = (IndexCursor(at, item) for item, at in batch)
        yield from (place for place in places if after is None or place < after)
