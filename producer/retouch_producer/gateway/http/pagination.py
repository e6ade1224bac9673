"""Pages of jobs and deliveries: a cursor, filters, and a bound on how much one request looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from retouch.batches import batched
from retouch.store.pagination import IndexCursor, cursor_from
from retouch_producer.gateway.http.errors import invalid

LOOKED_AT_MOST = 5_000
"""How many entries one page looks at; where filters leave fewer than asked for, the cursor still leads on."""
_STEP = 200

Record = TypeVar("Record")


def cursor_of(text: str | None) -> IndexCursor | None:
    """Read a cursor; raises `invalid-request`."""
    try:
        return cursor_from(text) if text else None
    except ValueError as error:
        raise invalid([("cursor", str(error))]) from None


def read_page(
    places: Iterator[IndexCursor],
    read: Callable[[Sequence[str]], list[Record]],
    identity: Callable[[Record], str],
    fits: Callable[[Record], bool],
    limit: int,
) -> tuple[list[Record], str | None]:
    """Give up to `limit` records that fit, and the cursor for what follows, None at the end."""
    found: list[Record] = []
    looked_at, full_at = 0, ""
    for step in batched(places, _STEP):
        records = {identity(record): record for record in read([place.item for place in step])}
        for place in step:
            looked_at += 1
            record = records.get(place.item)
            if record is not None and fits(record):
                if full_at:  # there is more indeed
                    return found, full_at
                found.append(record)
                full_at = str(place) if len(found) == limit else ""
            if looked_at == LOOKED_AT_MOST:
                return found, full_at or str(place)
    return found, None
