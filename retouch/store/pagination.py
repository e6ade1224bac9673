"""Pages of indexes by time, newest first. Their cursors neither skip nor repeat entries of one instant."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from retouch.store.redis_commands import Client

_STEP = 500


class IndexCursor(NamedTuple):
    """The place of an entry in an index by time; its text is a cursor."""

    at: float
    item: str

    def __str__(self) -> str:
        return f"{self.at:.3f}_{self.item}"


def cursor_from(cursor: str) -> IndexCursor:
    """Read a cursor; raises `ValueError` for any other text."""
    at, _, item = cursor.partition("_")
    if not (item and at.replace(".", "", 1).isdecimal() and at.isascii()):
        raise ValueError("expected the cursor of an earlier page")
    return IndexCursor(float(at), item)


def walk(
    client: Client, indexes: Sequence[str], *, since: float = 0.0, after: IndexCursor | None = None
) -> Iterator[IndexCursor]:
    """Yield the entries of several indexes by time, merged, newest first, that follow a cursor."""
    return heapq.merge(*(_walk_one(client, index, since, after) for index in indexes), reverse=True)


def _walk_one(client: Client, index: str, since: float, after: IndexCursor | None) -> Iterator[IndexCursor]:
    latest, start = f"{after.at:.3f}" if after else "+inf", 0
    while batch := client.zrevrangebyscore(index, latest, since, start=start, num=_STEP, withscores=True):
        start += len(batch)
        places = (IndexCursor(at, item) for item, at in batch)
        yield from (place for place in places if after is None or place < after)
