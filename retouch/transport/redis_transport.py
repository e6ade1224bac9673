"""The transport over Redis, where the jobs are kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
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
from retouch.settings import Settings
from retouch.states import JobState
from retouch.store import history
from retouch.store.blob_retention import keep_blob
from retouch.store.deliveries import DeliveryRecord
from retouch.store.failing_receivers import FailingReceiver, count_failing, failing_receivers
from retouch.store.job_search import JobQuery, JobSearch
from retouch.store.jobs import EnqueueResult, queue_full
from retouch.store.lanes import LaneNumbers
from retouch.store.ledger import By, Ledger, UsageRow
from retouch.store.pagination import IndexCursor
from retouch.store.receivers import Receiver
from retouch.store.records import JobRecord, TimelineEntry
from retouch.store.redis_client import clear_errors
from retouch.store.scripts import Message
from retouch.store.stats import Stats, read_stats
from retouch.sync_async import reply
from retouch.transport.feed_listener import Listener
from retouch.transport.interface import EditWithOptions, not_on_record

_SLICE = 50  # items between two turns of the event loop: a millisecond or two of work
_NEWS_WAIT_S = 1.0
_RECEIVERS_MOST = 10_000


class RedisTransport:
    """The queue over Redis; the client in `connections` must be of the kind that `concurrency` needs."""

    def __init__(self, connections: SharedConnections, concurrency: Concurrency) -> None:
        self.connections, self.concurrency = connections, concurrency
        self.listener = Listener(concurrency)
        self._search = JobSearch(connections.jobs)
        self._receivers: set[tuple[str, str]] = set()

    async def open(self) -> None:
        """Load the publisher and the blob store, which is slow."""
        await self.concurrency.run_blocking(self.connections.warm)

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self.concurrency.close()
        await self.connections.close()

    def admission_settings(self, callbacks: Iterable[str]) -> Settings:  # noqa: ARG002 - ours list what is allowed
        """Return our own settings: nobody else checks a request before it is in the store."""
        return self.connections.settings

    async def require_answer(self) -> None:
        """Ask Redis for an answer."""
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
        """Enqueue edits, 100 in each round trip; see `EditQueue.enqueue_many`."""
        admission = Admission(common, self.connections.settings)
        for place, (edit, own) in enumerate(edits):
            admission.take(edit, own)
            if place % _SLICE == _SLICE - 1:
                await self.concurrency.yield_control()
        # Raises for all faults together, before anything is written.
        new = admission.jobs()
        with clear_errors():
            await self._ensure(admission.receivers)
            results, messages = await self.connections.jobs.enqueue.awaited(new)
        await self._publish(messages)
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

    async def _publish(self, messages: Sequence[Message]) -> None:
        if messages:
            await self.concurrency.run_blocking(self.connections.publisher.publish, messages)

    async def record(self, job: str) -> JobRecord:
        """Read a job; raises `UnknownJob`."""
        with clear_errors():
            found = await self.connections.jobs.record.awaited(job)
        if found is None:
            raise not_on_record(job)
        return found

    async def records(self, jobs: Sequence[str]) -> list[JobRecord]:
        """Read many jobs, in two round trips."""
        with clear_errors():
            return await self.connections.jobs.records.awaited(jobs)

    async def timeline(self, job: str, after: int) -> tuple[list[Event], bool]:
        """Read a job's events above a sequence, and whether the job was final after that."""
        with clear_errors():
            entries = await self.connections.jobs.timeline.awaited(job, max(after, 0))
            record = await self.record(job)
            events = await self.concurrency.run_blocking(self._events, [(record, entry) for entry in entries])
        price = self.connections.settings.price_per_call
        begin = [queued_event(record, price)] if after < 0 else []
        return begin + events, JobState(record.state).is_final

    def _events(self, entries: Sequence[tuple[JobRecord, TimelineEntry]]) -> list[Event]:
        """Build the events for entries of timelines; this may block, since links are signed with a key from Redis."""
        link, price = self.connections.blobs.link, self.connections.settings.price_per_call
        return [event_object(record, entry, link, price) for record, entry in entries]

    async def image(self, job: str, kept: Image, place: int = 0) -> bytes:  # noqa: ARG002 - a gateway goes by the job
        """Read an image from the blob store."""
        return await self.concurrency.run_blocking(self.connections.blobs.get, kept.name)

    async def link(self, job: str, kept: Image, place: int = 0) -> str:  # noqa: ARG002 - a gateway goes by the job
        """Return a new link to an image."""
        with clear_errors():
            return await self.concurrency.run_blocking(self.connections.blobs.link, kept.name)

    async def jobs(
        self, state: JobState | None, tenant: str | None, since: float, limit: int
    ) -> AsyncGenerator[JobRecord, None]:
        """Yield jobs, newest first, without those of which only an index entry is left."""
        following: IndexCursor | None = None
        with clear_errors():
            tenants = [tenant] if tenant else await self.connections.jobs.tenants.awaited()
            query = JobQuery(tenants, state=state or "", since=since)
            # In small pages: a caller that stops early has not read much in vain.
            while limit > 0:
                page = await self._search.page.awaited(query, min(limit, _SLICE), following)
                for record in page.records:
                    yield record
                limit, following = limit - len(page.records), page.following
                if following is None:
                    return

    async def cancel(self, job: str) -> str:
        """Cancel a job; see `Job.cancel`."""
        with clear_errors():
            return await self._publish_moved(job, *await self.connections.jobs.cancel.awaited(job))

    async def replay(self, job: str) -> str:
        """Replay a dead letter; see `Job.replay`."""
        with clear_errors():
            word = await self._publish_moved(job, *await self.connections.jobs.replay.awaited(job))
        kind, _, reason = word.partition(" ")
        # The gateway answers in the same way: no room is an error, any other word a result.
        if kind == "full":
            raise queue_full((await self.record(job)).spec.tenant, reason)
        return word

    async def _publish_moved(self, job: str, word: str, messages: Sequence[Message]) -> str:
        await self._publish(messages)
        if word == "unknown":
            raise not_on_record(job)
        return word

    async def events(self, after: str, limit: int) -> list[tuple[str, Event]]:
        """Read a page of the feed; see `EditQueue.events`."""
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
        """Read which jobs have events since a cursor; see `News`."""
        with clear_errors():
            if after is None:
                return await last_cursor.awaited(self.connections.client), set()
            page = await next_page.awaited(self.connections.client, after, _NEWS_WAIT_S)
        return (page[-1].cursor if page else after), {entry.job for entry in page}

    async def deliveries(self, dead: bool, since: float, limit: int) -> list[DeliveryRecord]:
        """List deliveries, newest first."""
        store, found = self.connections.deliveries, list[DeliveryRecord]()
        with clear_errors():
            for start in range(0, limit, _SLICE):
                ids = await store.page.awaited(start, min(_SLICE, limit - start), dead=dead, since=since)
                found += await store.records.awaited(ids)
                if len(ids) < _SLICE:
                    break
        return found

    async def deliveries_of(self, job: str) -> list[DeliveryRecord]:
        """List a job's deliveries, oldest first."""
        with clear_errors():
            return await self.connections.deliveries.of_job.awaited(job)

    async def redeliver(self, delivery: str) -> str:
        """Send a delivery again by hand; see `EditQueue.redeliver`."""
        with clear_errors():
            word, messages = await self.connections.deliveries.redeliver.awaited(delivery)
        await self._publish(messages)
        return word

    async def keep_input(self, name: str, data: bytes, tenant: str) -> str:
        """Keep a picture until a job that is enqueued now has ended and its retention is over."""
        with clear_errors():
            await self.concurrency.run_blocking(self._keep_input, name, data, tenant)
        return await self.input_link(name)

    def _keep_input(self, name: str, data: bytes, tenant: str) -> None:
        settings = self.connections.settings
        # On record first: a blob whose bytes come late is harmless, one that retention does not know is never deleted.
        keep_blob(self.connections.blocking_client, name, settings.deadline_s + settings.retention_s, tenant)
        self.connections.blobs.put(data, name.rpartition(".")[2])

    async def input_link(self, name: str) -> str:
        """Mint a link to a picture of ours; raises `InvalidEdit` for one that leads to a private address."""
        settings = self.connections.settings
        if settings.store.startswith("file:") and (
            fault := fault_of(settings.public_url, settings.dangerous_allow_private_networks)
        ):
            advice = "links to a local file start with RETOUCH_PUBLIC_URL, which the endpoint must be able to reach"
            raise InvalidEdit([("init_image", f"{advice} ({fault}); run `retouch up` here, or give a URL")])
        with clear_errors():
            return await self.concurrency.run_blocking(self.connections.blobs.link, name)

    async def ended(self) -> dict[str, int]:
        """Count the jobs that ever ended, by state."""
        with clear_errors():
            return await self.connections.jobs.counts.awaited()

    async def failing(self, most: int) -> tuple[int, list[FailingReceiver]]:
        """Count the receivers that fail, and read those that have failed longest; at most `most`."""
        client = self.connections.blocking_client
        with clear_errors():
            return await self.concurrency.run_blocking(
                lambda: (count_failing(client), failing_receivers(client, count=most))
            )

    async def usage(self, tenant: str | None, since: date | None, by: By) -> list[UsageRow]:
        """Sum up the calls of one tenant, or of all, at the price of our settings."""
        ledger, price = Ledger(self.connections.blocking_client), self.connections.settings.price_per_call
        read = partial(ledger.usage, tenant=tenant, since=since, by=by, price_per_call=price)
        with clear_errors():
            return await self.concurrency.run_blocking(read)

    async def stats(self, tenant: str | None, since: float, by: history.By | None) -> Stats:
        """Read the statistics from an instant until now, at the price of our settings."""
        client, price = self.connections.blocking_client, self.connections.settings.price_per_call
        with clear_errors():
            return await self.concurrency.run_blocking(partial(read_stats, client, price, since, by=by, tenant=tenant))

    async def receiver(self, url: str, tenant: str) -> Receiver:
        """Return the receiver at a URL; a new URL gets one."""
        with clear_errors():
            return await self.connections.receivers.ensure.awaited(tenant, url)

    async def pause(self, lane: str) -> None:
        """Stop dispatching in a lane."""
        with clear_errors():
            await self.connections.lanes.pause.awaited(lane)

    async def resume(self, lane: str) -> None:
        """Dispatch in a lane again."""
        with clear_errors():
            await self.connections.lanes.resume.awaited(lane)

    async def status(self, lane: str) -> LaneNumbers:
        """Read the numbers of a lane."""
        with clear_errors():
            return await self.connections.lanes.numbers.awaited(lane)


class BlockingRedisTransport(RedisTransport):
    """The queue over Redis, for code that may block."""

    connections: Connections

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections, ThreadConcurrency())

    def image_links(self, record: JobRecord) -> Link:  # noqa: ARG002 - a gateway makes links from the job's id
        """Return what mints links to the blob store."""
        return self.connections.blobs.link
