"""Lists of jobs by tenant, state, error code, tag and time. Each page is read from the smallest index that serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from retouch.batches import batched
from retouch.store import keys
from retouch.store.jobs import SharedJobStore
from retouch.store.pagination import IndexCursor
from retouch.store.records import JobRecord
from retouch.store.redis_commands import AnyClient
from retouch.sync_async import reply, sync_async

CANDIDATES_MOST = 100_000
"""How many index entries one page looks at, at about 3 µs each; records are read only for entries that fit."""
_STEP = 1_000
_IN_FLIGHT = frozenset({"running", "polling"})


@dataclass(frozen=True, slots=True)
class JobQuery:
    """The filters of a list; an empty field filters nothing. Instants are in Unix seconds, `until` is exclusive."""

    tenants: Sequence[str]
    state: str = ""
    code: str = ""
    tag: tuple[str, str] | None = None
    since: float = 0.0
    until: float = float("inf")

    def fits(self, record: JobRecord) -> bool:
        """Return whether a record passes all filters."""
        return (
            record.spec.tenant in self.tenants
            and self.state in ("", record.state)
            and (not self.code or (record.state == "failed" and _code(record) == self.code))
            and (self.tag is None or record.spec.tags.get(self.tag[0]) == self.tag[1])
        )


class JobPage(NamedTuple):
    """Jobs, newest first, and the cursor of the next page, None at the end."""

    records: list[JobRecord]
    following: IndexCursor | None


@dataclass(slots=True)
class _Walk:
    """A walk through an index, newest entry first. What counts is in all of `within` and in none of `without`."""

    index: str
    within: Sequence[str] = ()
    without: Sequence[str] = ()
    last: IndexCursor | None = None
    unread: list[IndexCursor] = field(default_factory=list)
    is_read: bool = False
    count: int = _STEP


class JobSearch:
    """Runs queries on the indexes that the scripts write; see `job_index.lua`."""

    def __init__(self, jobs: SharedJobStore) -> None:
        self._jobs, self._client = jobs, jobs.client

    @sync_async
    async def page(self, query: JobQuery, limit: int, after: IndexCursor | None = None) -> JobPage:
        """
        Read up to `limit` jobs that follow a cursor.

        A page is shorter only at the end, or after 100,000 index entries among which fewer jobs pass all filters.
        """
        found: list[tuple[IndexCursor, JobRecord]] = []
        async for places, looked_until in self._candidates(query, after, limit + 1):
            # Records are read a page at a time: the first ones may fill the page.
            for part in batched(places, limit + 1):
                records = {one.id: one for one in await self._jobs.records.awaited([place.item for place in part])}
                found += [(at, records[at.item]) for at in part if at.item in records and query.fits(records[at.item])]
                if len(found) > limit:
                    return JobPage([record for _, record in found[:limit]], found[limit - 1][0])
            if looked_until is not None:
                return JobPage([record for _, record in found], looked_until)
        return JobPage([record for _, record in found], None)

    async def _candidates(
        self, query: JobQuery, after: IndexCursor | None, wanted: int
    ) -> AsyncIterator[tuple[list[IndexCursor], IndexCursor | None]]:
        """Yield entries that pass by the indexes, newest first, and a cursor if that stops before the end."""
        walks = await self._plan(query, after)
        # Where entries are dropped by other indexes, a page of entries is seldom a page of jobs.
        for walk in walks:
            walk.count = _STEP if walk.within or walk.without else min(wanted, _STEP)
        looked_at = 0
        while True:
            await _fill(self._client, [walk for walk in walks if not (walk.unread or walk.is_read)], query)
            taken = _take_oldest_safe(walks)
            if not taken:
                return
            looked_at += len(taken)
            stopped = taken[-1][0] if looked_at >= CANDIDATES_MOST else None
            yield await _filtered(self._client, taken), stopped
            if stopped:
                return

    async def _plan(self, query: JobQuery, after: IndexCursor | None) -> list[_Walk]:
        """Choose for each tenant the index with the fewest entries among those that serve."""
        serving = [_indexes(query, tenant) for tenant in query.tenants]
        pipe = self._client.pipeline(transaction=False)
        for tenant, indexes in zip(query.tenants, serving, strict=True):
            for index in indexes:
                pipe.zcard(index)
            if query.state in _IN_FLIGHT:
                pipe.zinter({keys.lane("edits", "slots"): 0, keys.jobs(tenant): 1}, withscores=True)
        replies = iter(await reply(pipe.execute()))
        walks = []
        for tenant, indexes in zip(query.tenants, serving, strict=True):
            sizes = {index: next(replies) for index in indexes}
            smallest, *others = sorted(indexes, key=lambda index: sizes[index])
            walk = _Walk(smallest, others, last=after)
            if query.state == "queued":
                walk.without = [keys.jobs_by("state", tenant, "retrying")]
            if query.state in _IN_FLIGHT:  # read whole: the limit of the lane bounds how many jobs have a slot
                _read(walk, next(replies), query)
                walk.is_read = True
            walks.append(walk)
        return walks


def indexes_of(record: JobRecord) -> list[str]:
    """Return the keys of the indexes by state, code and tag that may have a job."""
    tenant, code = record.spec.tenant, _code(record)
    names = [keys.jobs_by("state", tenant, state) for state in keys.JOB_STATES_INDEXED]
    names += [keys.jobs_by("tag", tenant, "=".join(tag)) for tag in record.spec.tags.items()]
    return [*names, keys.jobs_by("code", tenant, code)] if code else names


def _code(record: JobRecord) -> str:
    return record.error.code if record.error else ""


def _indexes(query: JobQuery, tenant: str) -> list[str]:
    """Return the keys of the indexes that have every job which passes the filters."""
    found = [keys.jobs_by("code", tenant, query.code)] if query.code else []
    if query.tag:
        found.append(keys.jobs_by("tag", tenant, "=".join(query.tag)))
    if query.state:
        # A state without an index of its own is one of open jobs.
        known = query.state if query.state in keys.JOB_STATES_INDEXED else "open"
        found.append(keys.jobs_by("state", tenant, known))
    return found or [keys.jobs(tenant)]


async def _fill(client: AnyClient, walks: Sequence[_Walk], query: JobQuery) -> None:
    """
    Read more entries of these walks until each has some or is at its end; each turn of the loop is one round trip.
    """
    while walks:
        pipe = client.pipeline(transaction=False)
        for walk in walks:
            latest = f"{walk.last.at:.3f}" if walk.last else f"({query.until}" if query.until < float("inf") else "+inf"
            # By instant, not by rank: ranks move when jobs come or change. Entries of that instant come a second time.
            pipe.zrevrangebyscore(walk.index, latest, query.since, start=0, num=walk.count, withscores=True)
        for walk, entries in zip(walks, await reply(pipe.execute()), strict=True):
            walk.is_read = len(entries) < walk.count
            _read(walk, entries, query)
            # All entries were of the instant where the walk stands: read further with more of them.
            if not walk.unread:
                walk.count *= 2
        walks = [walk for walk in walks if not (walk.unread or walk.is_read)]


def _read(walk: _Walk, entries: Sequence[tuple[str, float]], query: JobQuery) -> None:
    places = sorted((IndexCursor(at, item) for item, at in entries if query.since <= at < query.until), reverse=True)
    walk.unread = [place for place in places if walk.last is None or place < walk.last]
    if walk.unread:
        walk.last = walk.unread[-1]


def _take_oldest_safe(walks: Sequence[_Walk]) -> list[tuple[IndexCursor, _Walk]]:
    """Take the unread entries that are newer than anything a walk has yet to read, newest first."""
    # The oldest unread entry of a walk bounds what it may still read; below the highest of these, order is not known.
    floor = max((walk.unread[-1] for walk in walks if walk.unread and not walk.is_read), default=None)
    taken = []
    for walk in walks:
        safe = [place for place in walk.unread if floor is None or place >= floor]
        walk.unread = walk.unread[len(safe) :]
        taken += [(place, walk) for place in safe]
    return sorted(taken, key=lambda one: one[0], reverse=True)


async def _filtered(client: AnyClient, taken: Sequence[tuple[IndexCursor, _Walk]]) -> list[IndexCursor]:
    """Keep the entries that all of `within` have and none of `without`."""
    checks: list[tuple[str, bool, list[IndexCursor]]] = []
    for walk in {id(walk): walk for _, walk in taken}.values():
        own = [place for place, of in taken if of is walk] if walk.within or walk.without else []
        checks += [(index, True, own) for index in walk.within] + [(index, False, own) for index in walk.without]
    pipe = client.pipeline(transaction=False)
    for index, _, places in checks:
        pipe.zmscore(index, [place.item for place in places])
    out = set[IndexCursor]()
    for (_, has_to_be, places), scores in zip(checks, await reply(pipe.execute()) if checks else (), strict=True):
        out.update(place for place, score in zip(places, scores, strict=True) if (score is not None) != has_to_be)
    return [place for place, _ in taken if place not in out]
