"""
Reads several indexes by time as if they were one, newest entry first, and checks each entry against further indexes.

A source is one index, or a list of entries. A walk reads one source, batch by batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from retouch.query import JobQuery
from retouch.store.pagination import IndexCursor
from retouch.store.redis_commands import AnyClient
from retouch.sync_async import reply

STEP = 1_000


class Source(NamedTuple):
    """
    Entries that may match: the entries in `listed`, or else those in the index `name` and not in the index `without`.
    """

    name: str
    without: str = ""
    listed: tuple[IndexCursor, ...] | None = None


Filter = tuple[Source, ...]
"""One field of a query: an entry that matches the field is in at least one of the sources."""


@dataclass(slots=True)
class Walk:
    """
    The progress of reading one source; its entries must pass all of `filters`.

    `unread` has the entries that were read from Redis and not yet taken, newest first. `last` is the oldest entry that
    was read. `is_read` is True when the source has no further entries. `count` is the size of a batch.
    """

    source: Source
    filters: Sequence[Filter] = ()
    last: IndexCursor | None = None
    unread: list[IndexCursor] = field(default_factory=list)
    is_read: bool = False
    count: int = STEP

    @property
    def is_checked(self) -> bool:
        """Whether entries must be checked against other indexes."""
        return bool(self.filters or self.source.without)


def begin_walk(source: Source, filters: Sequence[Filter], query: JobQuery, after: IndexCursor | None) -> Walk:
    """Return a walk over the entries of a source that follow the cursor `after`. Listed entries are unread at once."""
    walk = Walk(source, filters, last=after)
    if source.listed is not None:
        _take_in(walk, source.listed, query)
        walk.is_read = True
    return walk


async def fill(client: AnyClient, walks: Sequence[Walk], query: JobQuery) -> None:
    """
    Read until each walk has unread entries or is at its end. One round trip reads a batch for each walk that needs one.

    A batch begins at the instant of the last entry that was read, and leaves out entries that were read before. An
    offset from the newest entry would not do, since it changes when jobs are enqueued or change their state.
    """
    while walks:
        pipe = client.pipeline(transaction=False)
        for walk in walks:
            latest = f"{walk.last.at:.3f}" if walk.last else f"({query.until}" if query.until < float("inf") else "+inf"
            pipe.zrevrangebyscore(walk.source.name, latest, query.since, start=0, num=walk.count, withscores=True)
        for walk, entries in zip(walks, await reply(pipe.execute()), strict=True):
            walk.is_read = len(entries) < walk.count
            _take_in(walk, [IndexCursor(at, item) for item, at in entries], query)
            if not walk.unread:
                walk.count *= 2
        walks = [walk for walk in walks if not (walk.unread or walk.is_read)]


def _take_in(walk: Walk, entries: Sequence[IndexCursor], query: JobQuery) -> None:
    places = sorted((place for place in entries if query.since <= place.at < query.until), reverse=True)
    walk.unread = [place for place in places if walk.last is None or place < walk.last]
    if walk.unread:
        walk.last = walk.unread[-1]


def take_newest(walks: Sequence[Walk]) -> list[tuple[IndexCursor, Walk]]:
    """
    Remove the newest unread entries from their walks, and return them, newest first.

    An entry stays if a walk may still read a newer one. If several walks have an entry, it is returned once, with one
    of these walks.
    """
    floor = max((walk.unread[-1] for walk in walks if walk.unread and not walk.is_read), default=None)
    taken = dict[IndexCursor, Walk]()
    for walk in walks:
        safe = [place for place in walk.unread if floor is None or place >= floor]
        walk.unread = walk.unread[len(safe) :]
        taken |= dict.fromkeys(safe, walk)
    return sorted(taken.items(), key=lambda one: one[0], reverse=True)


async def passing(client: AnyClient, taken: Sequence[tuple[IndexCursor, Walk]]) -> list[IndexCursor]:
    """Return the entries that pass all filters of their walks, in the same order; this takes one round trip."""
    of_walk: dict[int, tuple[Walk, list[IndexCursor]]] = {}
    for place, walk in taken:
        of_walk.setdefault(id(walk), (walk, []))[1].append(place)
    asked: dict[tuple[str, int], set[IndexCursor]] = {}
    pipe = client.pipeline(transaction=False)
    for walk, places in of_walk.values():
        for index in _indexes_of(walk):
            pipe.zmscore(index, [place.item for place in places])
            asked[index, id(walk)] = set()
    scores = iter(await reply(pipe.execute()) if asked else ())
    for index, walk_id in asked:
        places = of_walk[walk_id][1]
        asked[index, walk_id] = {one for one, score in zip(places, next(scores), strict=True) if score is not None}

    def is_in(place: IndexCursor, source: Source, walk: Walk) -> bool:
        if source.listed is not None:
            return place in source.listed
        own = asked.get((source.name, id(walk)))
        return (own is None or place in own) and not (source.without and place in asked[source.without, id(walk)])

    return [
        place
        for place, walk in taken
        if is_in(place, walk.source, walk)
        and all(any(is_in(place, source, walk) for source in one) for one in walk.filters)
    ]


def _indexes_of(walk: Walk) -> list[str]:
    """Return the names of the indexes against which the entries of a walk are checked."""
    sources = [source for one in walk.filters for source in one if source.listed is None]
    without = [source.without for source in (walk.source, *sources) if source.without]
    return list(dict.fromkeys([*(source.name for source in sources), *without]))
