"""The transport over Redis: it uses the stores directly."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date
from functools import partial

import redis

from retouch.addresses import fault_of
from retouch.admission import Admission, enqueue_error
from retouch.batches import batched
from retouch.concurrency import Concurrency, ThreadConcurrency
from retouch.connections import Connections, SharedConnections
from retouch.errors import InvalidEdit, StoreUnavailable
from retouch.events import Event, Link, event_object, queued_event
from retouch.feed import FeedEntry, last_cursor, next_page, read_page
from retouch.options import JobOptions
from retouch.outcomes import Image
from retouch.query import JobQuery
from retouch.settings import Settings
from retouch.states import JobState
from retouch.store import history
from retouch.store.answers import RawAnswer
from retouch.store.audit import Actor, AuditFilter, AuditLine, AuditLog, Surface
from retouch.store.blob_retention import keep_blob
from retouch.store.deliveries import DeliveryRecord
from retouch.store.failing_receivers import FailingReceiver, count_failing, failing_receivers
from retouch.store.job_search import JobSearch
from retouch.store.jobs import EnqueueResult
from retouch.store.lanes import LaneNumbers
from retouch.store.ledger import By, Ledger, UsageRow
from retouch.store.pagination import IndexCursor
from retouch.store.receivers import Receiver
from retouch.store.records import JobRecord, TimelineEntry
from retouch.store.redis_client import clear_errors
from retouch.store.stats import Stats, read_stats
from retouch.sync_async import reply
from retouch.transport.bulk_interface import BulkTransport
from retouch.transport.feed_listener import Listener
from retouch.transport.interface import EditWithOptions
from retouch.transport.redis_bulk import RedisBulk
from retouch.transport.redis_moves import RedisMoves

_SLICE = 50  # items between two turns of the event loop: a millisecond or two of work
_NEWS_WAIT_S = 1.0
_RECEIVERS_MOST = 10_000


class RedisTransport(RedisMoves):
    """The `Transport` over Redis. The client in `connections` must be of the kind that `concurrency` needs."""

    def __init__(self, connections: SharedConnections, concurrency: Concurrency, surface: Surface = "python") -> None:
        super().__init__(connections, concurrency, Actor(surface))
        self.bulk: BulkTransport = RedisBulk(connections, concurrency, self.actor)
        self.listener = Listener(concurrency)
        self._search = JobSearch(connections.jobs)
        self._receivers: set[tuple[str, str]] = set()

    async def open(self) -> None:
        """Make the publisher, the blob store and the texts of the scripts now, since that takes long."""
        await self.concurrency.run_blocking(self.connections.warm)

    async def close(self) -> None:
        """End the background work and close the connections; a later call opens new ones."""
        await self.concurrency.close()
        await self.connections.close()

    def admission_settings(self, callbacks: Iterable[str]) -> Settings:  # noqa: ARG002 - ours list what is allowed
        """Return this client's settings, since nobody else checks a request before it is in the store."""
        return self.connections.settings

    async def require_answer(self) -> None:
        """Raise `StoreUnavailable`, with advice for an operator, unless Redis answers."""
        address = self.connections.settings.address
        try:
            await reply(self.connections.client.ping())
        except (redis.AuthenticationError, redis.ResponseError) as error:
            raise StoreUnavailable(
                f"Redis at {address} refuses the connection: {error}; nothing was done. Correct RETOUCH_REDIS_URL."
            ) from None
        except redis.RedisError as error:
            advice = "Run `retouch up` in this folder, or point RETOUCH_REDIS_URL at a Redis that runs."
            problem = f"Redis at {address} does not answer ({type(error).__name__})"
            raise StoreUnavailable(f"{problem}; nothing was done. {advice}") from error

    async def enqueue(self, edits: Sequence[EditWithOptions], common: JobOptions) -> list[EnqueueResult]:
        """Enqueue edits, many in each round trip, and return a result for each; see `EditQueue.enqueue_many`."""
        admission = Admission(common, self.connections.settings)
        for place, (edit, own) in enumerate(edits):
            admission.take(edit, own)
            if place % _SLICE == _SLICE - 1:
                await self.concurrency.yield_control()
        # This raises one error for all faults, before anything is written.
        new = admission.jobs()
        with self.connections.tracing.enqueue(new) as (traced, span), clear_errors():
            await self._ensure(admission.receivers)
            results, messages = await self.connections.jobs.enqueue.awaited(traced)
            span.enqueued(results)
        await self.publish(messages)
        if error := enqueue_error(results):
            raise error
        return results

    async def _ensure(self, receivers: set[tuple[str, str]]) -> None:
        # Receivers that this process has seen are not looked up again, so most calls cost no round trip for them.
        for tenant, url in receivers - self._receivers:
            await self.connections.receivers.ensure.awaited(tenant, url)
            # Bounded: a tenant may name a new URL with each job.
            if len(self._receivers) < _RECEIVERS_MOST:
                self._receivers.add((tenant, url))

    async def records(self, jobs: Sequence[str]) -> list[JobRecord]:
        """Return many jobs in the order of their ids, in two round trips; leave out those that are not on record."""
        with clear_errors():
            return await self.connections.jobs.records.awaited(jobs)

    async def timeline(self, job: str, after: int) -> tuple[list[Event], bool]:
        """Return a job's events whose sequence is above `after`, and whether the job had ended when they were read."""
        with clear_errors():
            entries = await self.connections.jobs.timeline.awaited(job, max(after, 0))
            record = await self.record(job)
            if JobState(record.state).is_final:
                # It may have ended after the first look, and nobody would ask for its last event.
                entries = await self.connections.jobs.timeline.awaited(job, max(after, 0))
            events = await self.concurrency.run_blocking(self._events, [(record, entry) for entry in entries])
        begin = [queued_event(record, self.connections.settings.price_per_call)] if after < 0 else []
        return begin + events, JobState(record.state).is_final

    async def raw_answer(self, job: str) -> RawAnswer | None:
        """Return the endpoint's last answer on record about a job, as it came; None if there is none."""
        with clear_errors():
            return await self.connections.jobs.raw_answer.awaited(job)

    def _events(self, entries: Sequence[tuple[JobRecord, TimelineEntry]]) -> list[Event]:
        """Return the event of each timeline entry; this may block, since links are signed with a secret from Redis."""
        link, price = self.connections.blobs.link, self.connections.settings.price_per_call
        return [event_object(record, entry, link, price) for record, entry in entries]

    async def image(self, job: str, stored: Image, index: int = 0) -> bytes:  # noqa: ARG002 - a gateway goes by the job
        """Return the bytes of an image from the blob store; raise `BlobMissing` if it is not there."""
        return await self.concurrency.run_blocking(self.connections.blobs.get, stored.name)

    async def link(self, job: str, stored: Image, index: int = 0) -> str:  # noqa: ARG002 - a gateway goes by the job
        """Return a new link to the image. Only the name of its blob is used; `job` and `index` are not."""
        with clear_errors():
            return await self.concurrency.run_blocking(self.connections.blobs.link, stored.name)

    async def jobs(
        self, query: JobQuery, tenant: str | None, limit: int, on_page: Callable[[int], object] = lambda _: None
    ) -> AsyncGenerator[JobRecord, None]:
        """Yield up to `limit` jobs, newest first; skip index entries whose record is gone."""
        following: IndexCursor | None = None
        with clear_errors():
            wanted = replace(query, tenants=query.tenants or ((tenant,) if tenant else ()))
            # In small pages, so that little is read in vain if the caller stops early.
            while limit > 0:
                page = await self._search.page.awaited(wanted, min(limit, _SLICE), following)
                on_page(page.looked_at)
                for record in page.records:
                    yield record
                limit, following = limit - len(page.records), page.following
                if following is None:
                    return

    async def events(self, after: str, limit: int) -> list[tuple[str, Event]]:
        """Return a page of the feed, as `EditQueue.events` does."""
        events: list[tuple[str, Event]] = []
        with clear_errors():
            entries = await read_page.awaited(self.connections.client, after, limit)
            for some in batched(entries, _SLICE):
                events += await self._events_of(some)
        return events

    async def _events_of(self, entries: Sequence[FeedEntry]) -> list[tuple[str, Event]]:
        jobs = {entry.job for entry in entries if entry.job}
        records = {record.id: record for record in await self.connections.jobs.records.awaited(sorted(jobs))}
        known = [entry for entry in entries if entry.job in records]
        timeline = await self.connections.jobs.entries.awaited([(entry.job, entry.sequence) for entry in known])
        found = [(entry, fact) for entry, fact in zip(known, timeline, strict=True) if fact]
        events = await self.concurrency.run_blocking(
            self._events, [(records[entry.job], fact) for entry, fact in found]
        )
        return [(entry.cursor, event) for (entry, _), event in zip(found, events, strict=True)]

    async def news(self, after: str | None) -> tuple[str, set[str]]:
        """Return the next cursor, and the ids of the jobs that had events after the cursor `after`; see `News`."""
        with clear_errors():
            if after is None:
                return await last_cursor.awaited(self.connections.client), set()
            page = await next_page.awaited(self.connections.client, after, _NEWS_WAIT_S)
        return (page[-1].cursor if page else after), {entry.job for entry in page}

    async def deliveries(self, dead: bool, since: float, limit: int) -> list[DeliveryRecord]:
        """Return up to `limit` deliveries, newest first; with `dead`, only dead letters."""
        store, found = self.connections.deliveries, list[DeliveryRecord]()
        with clear_errors():
            for start in range(0, limit, _SLICE):
                ids = await store.page.awaited(start, min(_SLICE, limit - start), dead=dead, since=since)
                found += await store.records.awaited(ids)
                if len(ids) < _SLICE:
                    break
        return found

    async def deliveries_of(self, job: str) -> list[DeliveryRecord]:
        """Return a job's deliveries, oldest first."""
        with clear_errors():
            return await self.connections.deliveries.of_job.awaited(job)

    async def keep_input(self, name: str, data: bytes, tenant: str) -> str:
        """Store a picture, keep it as long as a job that is enqueued now can be on record, and return a link to it."""
        with clear_errors():
            await self.concurrency.run_blocking(self._keep_input, name, data, tenant)
        return await self.input_link(name)

    def _keep_input(self, name: str, data: bytes, tenant: str) -> None:
        settings = self.connections.settings
        # The entry comes before the bytes: an entry without bytes does no harm, bytes without one are never deleted.
        keep_blob(self.connections.blocking_client, name, settings.deadline_s + settings.retention_s, tenant)
        self.connections.blobs.put(data, name.rpartition(".")[2])

    async def input_link(self, name: str) -> str:
        """Return a link to a picture in the blob store; raise `InvalidEdit` if it would lead to a private address."""
        settings = self.connections.settings
        if settings.store.startswith("file:") and (
            fault := fault_of(settings.public_url, settings.dangerous_allow_private_networks)
        ):
            advice = "links to a local file start with RETOUCH_PUBLIC_URL, which the endpoint must be able to reach"
            raise InvalidEdit([("init_image", f"{advice} ({fault}); run `retouch up` here, or give a URL")])
        with clear_errors():
            return await self.concurrency.run_blocking(self.connections.blobs.link, name)

    async def audit(self, wanted: AuditFilter, limit: int) -> list[AuditLine]:
        """Return up to `limit` matching lines of the audit, newest first."""
        with clear_errors():
            return await self.concurrency.run_blocking(AuditLog(self.connections.blocking_client).lines, wanted, limit)

    async def ended(self) -> dict[str, int]:
        """Return {state: number of jobs that have ever ended in this state}."""
        with clear_errors():
            return await self.connections.jobs.counts.awaited()

    async def failing(self, most: int) -> tuple[int, list[FailingReceiver]]:
        """Return how many receivers fail, and up to `most` of those that have failed longest."""
        client = self.connections.blocking_client
        with clear_errors():
            return await self.concurrency.run_blocking(
                lambda: (count_failing(client), failing_receivers(client, count=most))
            )

    async def usage(self, tenant: str | None, since: date | None, by: By) -> list[UsageRow]:
        """Return the calls of one tenant or of all, by tenant, day or tag, with the price in this client's settings."""
        ledger, price = Ledger(self.connections.blocking_client), self.connections.settings.price_per_call
        read = partial(ledger.usage, tenant=tenant, since=since, by=by, price_per_call=price)
        with clear_errors():
            return await self.concurrency.run_blocking(read)

    async def stats(self, tenant: str | None, since: float, by: history.By | None) -> Stats:
        """Return the statistics from an instant until now, with the price in this client's settings."""
        client, price = self.connections.blocking_client, self.connections.settings.price_per_call
        with clear_errors():
            return await self.concurrency.run_blocking(partial(read_stats, client, price, since, by=by, tenant=tenant))

    async def receiver(self, url: str, tenant: str) -> Receiver:
        """Return the receiver at a URL; create one if there is none."""
        with clear_errors():
            return await self.connections.receivers.ensure.awaited(tenant, url)

    async def pause(self, lane: str) -> None:
        """Stop dispatching in a lane; jobs that hold a slot go on."""
        with clear_errors():
            await self.connections.lanes.pause.awaited(lane)
            await self.connections.audit.record.awaited(self.actor, "lane.pause", lane=lane)

    async def resume(self, lane: str) -> None:
        """Allow dispatching in a lane again."""
        with clear_errors():
            await self.connections.lanes.resume.awaited(lane)
            await self.connections.audit.record.awaited(self.actor, "lane.resume", lane=lane)

    async def status(self, lane: str) -> LaneNumbers:
        """Return the numbers of a lane."""
        with clear_errors():
            return await self.connections.lanes.numbers.awaited(lane)


class BlockingRedisTransport(RedisTransport):
    """The `Transport` over Redis, for code that may block."""

    connections: Connections

    def __init__(self, connections: Connections, surface: Surface = "python") -> None:
        super().__init__(connections, ThreadConcurrency(), surface)

    def image_links(self, record: JobRecord) -> Link:  # noqa: ARG002 - a gateway makes links from the job's id
        """Return the function that makes a link from a blob's name; it is the same for all jobs."""
        return self.connections.blobs.link
