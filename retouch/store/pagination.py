"""Pages of the indexes by time: newest first, with a cursor that neither skips nor repeats entries of one instant."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from retouch.store.redis_commands import Client

_STEP = 500


class IndexCursor(NamedTuple):
    """Where an entry stands in an index by time; as text it is a cursor."""

    at: float
    item: str

    def __str__(self) -> str:
        return f"{self.at:.3f}_{self.item}"


def cursor_from(cursor: str) -> IndexCursor:
    """Read a cursor; raises `ValueError` for what is none."""
    at, _, item = cursor.partition("_")
    if not (item and at.replace(".", "", 1).isdecimal() and at.isascii()):
        raise ValueError("expected a cursor that a page gave")
    return IndexCursor(float(at), item)


def walk(
    client: Client, indexes: Sequence[str], *, since: float = 0.0, after: IndexCursor | None = None
) -> Iterator[IndexCursor]:
    """Walk sorted sets whose scores are instants as if they were one, newest first, behind a place."""
    return heapq.merge(*(_walk_one(client, index, since, after) for index in indexes), reverse=True)


def _walk_one(client: Client, index: str, since: float, after: IndexCursor | None) -> Iterator[IndexCursor]:
    latest, start = f"{after.at:.3f}" if after else "+inf", 0
    while batch := client.zrevrangebyscore(index, latest, since, start=start, num=_STEP, withscores=True):
        start += len(batch)
        places = (IndexCursor(at, item) for item, at in batch)
        yield from (place for place in places if after is None or place < after)
