"""Reads one page of a filtered list, and bounds how many entries one request examines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import TypeVar

from retouch.batches import batched
from retouch.store.pagination import IndexCursor, cursor_from
from retouch_producer.gateway.http.errors import invalid

LOOKED_AT_MOST = 5_000
"""
The most index entries that are examined for one page. A page that ends at this number may be short, and its cursor
leads to more.
"""
_STEP = 200

Record = TypeVar("Record")


def parse_cursor(text: str | None) -> IndexCursor | None:
    """Return a cursor parsed from its text; None for None or "". Raises the problem `invalid-request`."""
    try:
        return cursor_from(text) if text else None
    except ValueError as error:
        raise invalid([("cursor", str(error))]) from None


def read_page(
    cursors: Iterator[IndexCursor],
    read: Callable[[Sequence[str]], list[Record]],
    identity: Callable[[Record], str],
    limit: int,
) -> tuple[list[Record], str | None]:
    """
    Return up to `limit` matching records, and the cursor of the next page, or None at the end.

    `cursors` yields the index entries in order. `read` gets ids, and returns the records that match the filter.
    `identity` returns the id of a record.
    """
    page: list[Record] = []
    seen_count, next_cursor = 0, ""
    # Without a filter, the page and the beginning of the next one are all that is needed.
    for step in chain(batched(islice(cursors, limit + 1), limit + 1), batched(cursors, _STEP)):
        records = {identity(record): record for record in read([cursor.item for cursor in step])}
        for cursor in step:
            seen_count += 1
            record = records.get(cursor.item)
            if record is not None:
                if next_cursor:  # the page was full before: this record begins the next one
                    return page, next_cursor
                page.append(record)
                next_cursor = str(cursor) if len(page) == limit else ""
            if seen_count == LOOKED_AT_MOST:
                return page, next_cursor or str(cursor)
    return page, None
