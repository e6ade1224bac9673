"""
Finds the jobs that match a query.

Each page is read from the smallest index that has all matches, and each entry is checked against the other indexes. A
field with several values uses one index for each value. `cost` and the account `default` have no index: the records of
all jobs that match the other terms are read. If the query names no tenant, the indexes of all tenants are merged,
newest job first. One index of all tenants would take 110 more bytes for each waiting job.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Literal, NamedTuple

from retouch.accounts import DEFAULT_ACCOUNT
from retouch.batches import batched, batched_by
from retouch.query import JobQuery
from retouch.store import keys
from retouch.store.index_walks import STEP, Filter, Source, Walk, begin_walk, fill, passing, take_newest
from retouch.store.jobs import SharedJobStore
from retouch.store.pagination import IndexCursor
from retouch.store.records import JobRecord, charges_from
from retouch.sync_async import reply, sync_async

CANDIDATES_MOST = 100_000
"""How many index entries are read for one page, at about 3 µs each. Records are read only for entries that match."""
UNINDEXED_MOST = 1_000
"""How many index entries are read for one page if a field of the query has no index, at about 40 µs each."""
_PART = 1_000  # commands in one pipeline; between two pipelines, Redis answers other clients
_LEAST = 20  # entries of a batch: with thousands of tenants, a page without an index is as long as it must be
_IN_FLIGHT = frozenset({"running", "polling"})


class JobPage(NamedTuple):
    """
    One page of jobs, newest first. `following` is the cursor of the next page, None at the end; `looked_at` is the
    number of index entries that were read for this page.
    """

    records: list[JobRecord]
    following: IndexCursor | None
    looked_at: int = 0


def fits(query: JobQuery, record: JobRecord) -> bool:
    """Return whether a record matches a query. Receivers and accounts are not compared here."""
    tags = record.spec.tags
    return (
        _allows(query.tenants, record.spec.tenant)
        and _allows(query.states, record.state)
        and (not query.codes or (record.state == "failed" and _code(record) in query.codes))
        and all(any(tags.get(name) == value for name, value in pairs) for pairs in query.tags)
        and _allows(query.ids, record.id)
        and query.since <= record.created_at < query.until
        and _costs_fit(query, sum(charge.possible for charge in record.charges))
    )


def _allows(values: Sequence[str], value: str) -> bool:
    return not values or value in values


def _costs_fit(query: JobQuery, possible: int) -> bool:
    return all(any(bound.holds(possible) for bound in bounds) for bounds in query.costs)


class JobSearch:
    """Queries over the indexes that the scripts write; see `job_index.lua`."""

    def __init__(self, jobs: SharedJobStore) -> None:
        self._jobs, self._client = jobs, jobs.client

    @sync_async
    async def page(self, query: JobQuery, limit: int, after: IndexCursor | None = None) -> JobPage:
        """
        Return a page of up to `limit` jobs that follow the cursor `after`.

        A page has fewer jobs only if it is the last page, or if reading stopped after 100,000 entries of the smallest
        index (1,000 if a field has no index).
        """
        found: list[tuple[IndexCursor, JobRecord]] = []
        looked_at = 0
        async for places, looked_at, stopped_at in self._candidates(query, after, limit + 1):
            for part in batched(places, limit + 1):
                records = {one.id: one for one in await self._jobs.records.awaited([place.item for place in part])}
                there = [(at, records[at.item]) for at in part if at.item in records]
                found += [(at, record) for at, record in there if fits(query, record)]
                if len(found) > limit:
                    return JobPage([record for _, record in found[:limit]], found[limit - 1][0], looked_at)
            if stopped_at is not None:
                return JobPage([record for _, record in found], stopped_at, looked_at)
        return JobPage([record for _, record in found], None, looked_at)

    async def every_id(self, query: JobQuery) -> AsyncGenerator[list[str], None]:
        """
        Yield the ids of all jobs that pass the indexes, each once, in lists of about a thousand. Their order is random.

        As nothing is sorted, no index is read twice. A caller that needs certainty reads the states of the jobs: some
        may not be on record any more, and with `state:queued`, some may be in flight.
        """
        seen = set[str]()
        for walks in batched_by(lambda walk: walk.count, STEP, await self._plan(query, None, sys.maxsize)):
            while unread := [walk for walk in walks if walk.unread or not walk.is_read]:
                await fill(self._client, [walk for walk in unread if not walk.unread], query)
                taken = [(place, walk) for walk in unread for place in walk.unread]
                for walk in unread:
                    walk.unread = []
                places = await self._without_index(query, await passing(self._client, taken))
                found = list(dict.fromkeys(place.item for place in places if place.item not in seen))
                seen.update(found)
                yield found

    async def _candidates(
        self, query: JobQuery, after: IndexCursor | None, wanted: int
    ) -> AsyncIterator[tuple[list[IndexCursor], int, IndexCursor | None]]:
        """
        Yield (entries that pass all indexes, number of entries read so far, None), newest entries first.

        If reading stops because too many entries were read, the last tuple has a cursor instead of None: the place
        where reading stopped.
        """
        walks = await self._plan(query, after, wanted)
        most = UNINDEXED_MOST if query.unindexed else CANDIDATES_MOST
        for walk in walks:
            walk.count = min(wanted, STEP)
        looked_at = 0
        while True:
            empty = [walk for walk in walks if not (walk.unread or walk.is_read)]
            await fill(self._client, empty, query)
            # Most pages are full after one batch; where few entries match, larger batches take fewer round trips.
            for walk in empty:
                if query.unindexed:
                    walk.count = max(most // (4 * len(walks)), _LEAST)
                elif walk.is_checked:
                    walk.count = min(4 * walk.count, STEP)
            taken = take_newest(walks)
            if not taken:
                return
            looked_at += len(taken)
            stopped_at = taken[-1][0] if looked_at >= most else None
            places = await passing(self._client, taken)
            yield await self._without_index(query, places), looked_at, stopped_at
            if stopped_at:
                return

    async def _without_index(self, query: JobQuery, places: list[IndexCursor]) -> list[IndexCursor]:
        """Return the entries whose jobs match the terms that have no index: `cost`, and the account `default`."""
        if not query.unindexed or not places:
            return places
        found = list[IndexCursor]()
        for part in batched(places, _PART):
            pipe = self._client.pipeline(transaction=False)
            for place in part:
                pipe.hmget(keys.state("edits", place.item), "charges", "account")
            for place, (charges, account) in zip(part, await reply(pipe.execute()), strict=True):
                possible = sum(charge.possible for charge in charges_from(json.loads(charges or "[]")))
                if _costs_fit(query, possible) and _allows(query.accounts, account or DEFAULT_ACCOUNT):
                    found.append(place)
        return found

    async def _plan(self, query: JobQuery, after: IndexCursor | None, wanted: int) -> list[Walk]:
        """
        Return the walks for a query. For each tenant, take the field of the query that has the fewest entries, and
        begin one walk in each index of this field.

        The first batch of a walk has all its entries, or as many as fit in one batch.
        """
        walks = list[Walk]()
        for tenants in batched(await self._tenants(query, after, wanted), _PART):
            lists = await self._lists(query, tenants)
            filters = [_filters(query, tenant, own) for tenant, own in zip(tenants, lists, strict=True)]
            sizes = await self._sizes(query, [source for own in filters for one in own for source in one])
            for own in filters:
                smallest, *others = sorted(own, key=lambda one: sum(sizes[source] for source in one))
                for source in (source for source in smallest if sizes[source]):
                    walks.append(begin_walk(source, others, query, after))
                    walks[-1].count = min(sizes[source] + 1, STEP)
        return walks

    async def _tenants(self, query: JobQuery, after: IndexCursor | None, wanted: int) -> Sequence[str]:
        """
        Return the tenants whose jobs may match.

        If the query names tenants, return these. Otherwise, if it names ids, return the owners of the ids. If it limits
        only the time, return the tenants that may have jobs on the next page. For any other query, return all tenants.
        """
        if query.tenants:
            return query.tenants
        if query.ids:
            specs = await reply(self._client.mget([keys.spec("edits", job) for job in query.ids]))
            return sorted({json.loads(spec)["tenant"] for spec in specs if spec})
        if query.states or query.codes or query.tags or query.receivers or query.accounts or query.unindexed:
            return await self._jobs.tenants.awaited()
        return await self._latest_tenants(query, after, wanted)

    async def _latest_tenants(self, query: JobQuery, after: IndexCursor | None, wanted: int) -> list[str]:
        """
        Return the tenants that may have the next `wanted` jobs after a cursor, without reading every tenant's index.

        `rt:tenants_by_time` has the instant of each tenant's latest job. A tenant whose latest job is newer than the
        cursor may also have older jobs, so it is always returned. Of the other tenants, the `wanted` ones with the
        latest jobs are enough.
        """
        before = min(query.until, after.at if after else query.until)
        found, older, start, last_at = list[str](), 0, 0, 0.0
        while True:
            batch = await reply(
                self._client.zrevrangebyscore(
                    keys.TENANTS_BY_TIME, "+inf", query.since, start=start, num=_PART, withscores=True
                )
            )
            sizes = await self._sizes(query, [Source(keys.jobs(tenant)) for tenant, _ in batch])
            for tenant, at in batch:
                # Do not stop between tenants of the same instant: the ids decide which of their jobs is newer.
                if older >= wanted and at < last_at:
                    return found
                if sizes[Source(keys.jobs(tenant))]:
                    found.append(tenant)
                    older, last_at = older + (at < before), at
            if len(batch) < _PART:
                return found
            start += _PART

    async def _lists(self, query: JobQuery, tenants: Sequence[str]) -> list[_Lists]:
        """
        Return two lists for each tenant: its jobs in flight, and its jobs that the query names by id.

        A list is empty if the query does not need it. The limit of the lane bounds the number of jobs in flight.
        """
        if not (_asks_in_flight(query) or query.ids):
            return [_Lists((), ())] * len(tenants)
        pipe = self._client.pipeline(transaction=False)
        for tenant in tenants:
            if _asks_in_flight(query):
                pipe.zinter({keys.lane("edits", "slots"): 0, keys.jobs(tenant): 1}, withscores=True)
            if query.ids:
                pipe.zmscore(keys.jobs(tenant), list(query.ids))
        replies = iter(await reply(pipe.execute()))
        found = list[_Lists]()
        for _ in tenants:
            in_flight = _places(next(replies)) if _asks_in_flight(query) else ()
            found.append(_Lists(in_flight, _places(zip(query.ids, next(replies), strict=True)) if query.ids else ()))
        return found

    async def _sizes(self, query: JobQuery, sources: Sequence[Source]) -> dict[Source, int]:
        """Return how many entries each source has between `since` and `until` of the query."""
        sizes = {source: len(source.listed) for source in sources if source.listed is not None}
        indexed = [source for source in dict.fromkeys(sources) if source.listed is None]
        for part in batched(indexed, _PART):
            pipe = self._client.pipeline(transaction=False)
            for source in part:
                pipe.zcount(source.name, query.since, f"({query.until}" if query.until < float("inf") else "+inf")
            sizes |= dict(zip(part, await reply(pipe.execute()), strict=True))
        return sizes


def _code(record: JobRecord) -> str:
    return record.error.code if record.error else ""


class _Lists(NamedTuple):
    """Two lists of one tenant: its jobs in flight, and its jobs that the query names by id."""

    in_flight: tuple[IndexCursor, ...]
    named: tuple[IndexCursor, ...]


def _places(entries: Iterable[tuple[str, float | None]]) -> tuple[IndexCursor, ...]:
    return tuple(IndexCursor(at, item) for item, at in entries if at is not None)


def _asks_in_flight(query: JobQuery) -> bool:
    """Return whether jobs in flight must be listed. With `queued`, the index of open jobs has them already."""
    return bool(_IN_FLIGHT.intersection(query.states)) and "queued" not in query.states


def _filters(query: JobQuery, tenant: str, lists: _Lists) -> list[Filter]:
    """
    Return a filter for each indexed field of a query. The sources of a filter have the tenant's jobs that match its
    field.

    If no field of the query has an index, return one filter with all jobs of the tenant.
    """
    texts: list[tuple[Literal["code", "receiver", "tag", "account"], Sequence[str]]]
    texts = [("code", query.codes), ("receiver", query.receivers)]
    texts += [("account", query.accounts)] if "account" not in query.unindexed else []
    texts += [("tag", ["=".join(pair) for pair in pairs]) for pairs in query.tags]
    found = [tuple(Source(keys.jobs_by(kind, tenant, one)) for one in values) for kind, values in texts if values]
    if query.states:
        found.append(_state_sources(query, tenant, lists.in_flight))
    if query.ids:
        found.append((Source(f"named of {tenant}", listed=lists.named),))
    return found or [(Source(keys.jobs(tenant)),)]


def _state_sources(query: JobQuery, tenant: str, in_flight: tuple[IndexCursor, ...]) -> Filter:
    known = [state for state in query.states if state in keys.JOB_STATES_INDEXED]
    sources = [Source(keys.jobs_by("state", tenant, state)) for state in known]
    if "queued" in query.states:
        without = "" if "retrying" in known else keys.jobs_by("state", tenant, "retrying")
        sources.append(Source(keys.jobs_by("state", tenant, "open"), without))
    elif _asks_in_flight(query):
        sources.append(Source(f"in flight of {tenant}", listed=in_flight))
    return tuple(sources)


def indexes_of(record: JobRecord) -> list[str]:
    """Return the indexes that may have an entry of a job: by state, code, tag, account, input and named receiver."""
    tenant, code = record.spec.tenant, _code(record)
    names = [keys.jobs_by("state", tenant, state) for state in keys.JOB_STATES_INDEXED]
    names += [keys.jobs_by("tag", tenant, "=".join(tag)) for tag in record.spec.tags.items()]
    names += [keys.jobs_by("receiver", tenant, receiver) for receiver in record.spec.receivers]
    names.append(keys.jobs_by("account", tenant, record.account))
    if record.spec.input:
        names.append(keys.jobs_by("input", tenant, keys.input_digest(record.spec.input)))
    return [*names, keys.jobs_by("code", tenant, code)] if code else names
