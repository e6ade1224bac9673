"""The transport over the HTTP gateway; its calls, results and errors are those of the transport over Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from datetime import date

from retouch.admission import Admission, enqueue_error
from retouch.batches import batched
from retouch.blobs import BlobMissing, is_thumbnail, thumbnail_name
from retouch.concurrency import Concurrency, ThreadConcurrency
from retouch.connections import Connections
from retouch.errors import UnknownJob
from retouch.events import Event, Link
from retouch.json_types import Document, JsonObject
from retouch.options import JobOptions
from retouch.outcomes import Image
from retouch.query import JobQuery
from retouch.settings import ALL_ADDRESSES, Settings
from retouch.states import JobState
from retouch.store import history
from retouch.store.answers import RawAnswer
from retouch.store.audit import AuditFilter, AuditLine
from retouch.store.deliveries import DeliveryRecord
from retouch.store.failing_receivers import FailingReceiver
from retouch.store.jobs import EnqueueResult
from retouch.store.lanes import LaneNumbers
from retouch.store.ledger import By, UsageRow
from retouch.store.receivers import Receiver
from retouch.store.records import JobRecord
from retouch.store.stats import Stats
from retouch.store.worker_presence import Worker
from retouch.tracing import open_tracing
from retouch.transport.bulk_interface import BulkTransport
from retouch.transport.documents import (
    audit_line_from,
    audit_query,
    delivery_from,
    failing_from,
    job_from,
    lane_from,
    raw_answer_of,
    receiver_from,
    stats_from,
    worker_from,
)
from retouch.transport.feed_listener import Listener
from retouch.transport.gateway_batches import batches, own_tenant, wire_item
from retouch.transport.gateway_bulk import GatewayBulk
from retouch.transport.gateway_connection import GatewayConnections, Query, StateConflict, result_of
from retouch.transport.interface import EditWithOptions, OnlyOverRedis, not_on_record

_PAGE = 100
_NEWS_EVERY_S = 0.1  # between two reads of the feed; while there is no event, the gateway itself delays its answer
_WAIT = {"Prefer": "wait=1"}  # short, since closing a client waits for it


class GatewayTransport:
    """The `Transport` over a gateway. On an event loop the HTTP calls run in threads, sixteen at one time."""

    def __init__(self, settings: Settings, concurrency: Concurrency) -> None:
        self._settings, self.concurrency = settings, concurrency
        self._wire = GatewayConnections(settings.gateway_url, settings.api_key, settings.gateway_timeout_s)
        self.listener = Listener(concurrency, _NEWS_EVERY_S)
        self.bulk: BulkTransport = GatewayBulk(self._get, self._post)
        self._tracing = open_tracing(settings)

    async def _get(self, path: str, query: Query | None = None, headers: Mapping[str, str] | None = None) -> JsonObject:
        return (await self.concurrency.run_blocking(self._wire.exchange, "GET", path, query, None, headers)).document()

    async def _post(self, path: str, body: object = None, query: Query | None = None) -> JsonObject:
        headers = self._tracing.headers()
        return (await self.concurrency.run_blocking(self._wire.exchange, "POST", path, query, body, headers)).document()

    async def open(self) -> None:
        """Do nothing: nothing here takes long to load."""

    async def close(self) -> None:
        """End the background work and close the idle connections; a later call opens new ones."""
        await self.concurrency.close()
        self._wire.close()

    def admission_settings(self, callbacks: Iterable[str]) -> Settings:
        """Return settings that allow every network and these callbacks, since the gateway itself checks both."""
        allowed = {"dangerous_allow_private_networks": ALL_ADDRESSES, "callback_tasks": tuple(callbacks)}
        return self._settings.model_copy(update=allowed)

    async def require_answer(self) -> None:
        """Do nothing: the first call raises `StoreUnavailable` if the gateway does not answer."""

    async def enqueue(self, edits: Sequence[EditWithOptions], common: JobOptions) -> list[EnqueueResult]:
        """
        Enqueue edits, up to 1,000 in one HTTP call, and return a result for each; see `EditQueue.enqueue_many`.

        Only the gateway can find some faults, such as a private address. If it refuses an edit for such a fault, the
        other edits are enqueued before the error is raised.
        """
        await self._check(edits, common)
        results: list[EnqueueResult] = []
        # An item without an idempotency key gets one from us, so that a call may be repeated after a lost answer.
        for start, batch in batches([wire_item(edit_and_own, common) for edit_and_own in edits]):
            answer = await self._post("/v1/edits/batch", {"edits": batch})
            for (_, own), item in zip(edits[start : start + len(batch)], answer["items"], strict=True):
                results.append(result_of(item, bool(own.get("idempotency_key") or common.get("idempotency_key"))))
        if error := enqueue_error(results):
            raise error
        return results

    async def _check(self, edits: Sequence[EditWithOptions], common: JobOptions) -> None:
        """Raise `InvalidEdit` for all faults that do not depend on the gateway's settings, before anything is sent."""
        callbacks = {str(one["callback"]) for one in (common, *(own for _, own in edits)) if one.get("callback")}
        admission = Admission(common, self.admission_settings(callbacks))
        for place, (edit, own) in enumerate(edits):
            admission.take(edit, own)
            if place % _PAGE == _PAGE - 1:
                await self.concurrency.yield_control()
        admission.jobs()

    async def record(self, job: str) -> JobRecord:
        """Return a job with its charges; raise `UnknownJob` if it is not on record."""
        try:
            return job_from(await self._get(f"/v1/edits/{job}"))
        except UnknownJob:
            raise not_on_record(job) from None

    async def records(self, jobs: Sequence[str]) -> list[JobRecord]:
        """Return many jobs, 100 in one HTTP call; leave out those that are not on record."""
        pages = [await self._get("/v1/edits", {"id": ids}) for ids in batched(jobs, _PAGE)]
        return [job_from(one) for page in pages for one in page["data"]]

    async def timeline(self, job: str, after: int) -> tuple[list[Event], bool]:
        """Return a job's events whose sequence is above `after`, and whether the job had ended when they were read."""
        document = await self._timeline(job)
        news = [event for event in document["events"] if event["data"]["sequence"] > after]
        return news, JobState(document["job"]["state"]).is_final

    async def _timeline(self, job: str) -> JsonObject:
        try:
            return await self._get(f"/v1/edits/{job}/timeline")
        except UnknownJob:
            raise not_on_record(job) from None

    async def raw_answer(self, job: str) -> RawAnswer | None:
        """Return the endpoint's last answer on record about a job, as it came; None if there is none."""
        return raw_answer_of((await self._timeline(job))["raw_answer"])

    async def wait(self, job: str) -> JsonObject | None:
        """Return a document that says why a job waits; None if the job has ended."""
        document: JsonObject | None = (await self._timeline(job)).get("wait")
        return document

    async def image(self, job: str, stored: Image, index: int = 0) -> bytes:
        """
        Return the bytes of one of a job's images; `index` counts from 0, in the order of the job's results.

        Raises `BlobMissing` if there is no such image.
        """
        path, query = f"/v1/edits/{job}/image", {"index": index or None}
        try:
            return (await self.concurrency.run_blocking(self._wire.exchange, "GET", path, query)).body
        except (UnknownJob, StateConflict):
            # The same error as over Redis, where the bytes are read without the job.
            raise BlobMissing(stored.sha256) from None

    async def link(self, job: str, stored: Image, index: int = 0) -> str:
        """Return a new link to one of a job's images; `index` counts from 0, in the order of the job's results."""
        results = (await self._get(f"/v1/edits/{job}"))["results"]
        if index >= len(results):
            raise BlobMissing(stored.sha256)
        return str(results[index]["url"])

    async def jobs(
        self, query: JobQuery, tenant: str | None, limit: int, on_page: Callable[[int], object] = lambda _: None
    ) -> AsyncGenerator[JobRecord, None]:
        """Yield up to `limit` matching jobs, newest first; `tenant` is ignored if the query names a tenant."""
        filters = {"q": str(query), "tenant": None if query.tenants else own_tenant(tenant)}
        async for one in self._pages("/v1/edits", limit, filters, on_page):
            yield job_from(one)

    async def _pages(
        self, path: str, limit: int, query: Query, on_page: Callable[[int], object] = lambda _: None
    ) -> AsyncGenerator[JsonObject, None]:
        """Yield up to `limit` items of a list, page by page."""
        cursor = None
        while limit > 0:
            page = await self._get(path, {**query, "limit": min(limit, _PAGE), "cursor": cursor})
            on_page(page.get("looked_at", 0))
            for one in page["data"]:
                yield one
            limit -= len(page["data"])
            cursor = page["next_cursor"]
            if not cursor:
                return

    async def cancel(self, job: str) -> str:
        """Cancel a job; return what happened, as `Job.cancel` does."""
        return await self._move(job, "cancel")

    async def replay(self, job: str) -> str:
        """Enqueue a failed or cancelled job again; return what happened, as `Job.replay` does."""
        try:
            return await self._move(job, "replay")
        except StateConflict:
            # Over Redis, "open" and "succeeded" are results and no errors. The problem does not say which one it is.
            state = (await self._get(f"/v1/edits/{job}"))["state"]
            return "succeeded" if state == JobState.SUCCEEDED else "open"

    async def approve(self, job: str) -> str:
        """Mark the result of a job as approved; return what happened, as `Job.approve` does."""
        return await self._mark(job, "approve")

    async def unapprove(self, job: str) -> str:
        """Take the mark of a job back; return what happened, as `Job.unapprove` does."""
        return await self._mark(job, "unapprove")

    async def _mark(self, job: str, verb: str) -> str:
        try:
            return await self._move(job, verb)
        except StateConflict:
            return "no_result"

    async def _move(self, job: str, verb: str) -> str:
        try:
            return str((await self._post(f"/v1/edits/{job}/{verb}"))["outcome"])
        except UnknownJob:
            raise not_on_record(job) from None

    async def events(self, after: str, limit: int) -> list[tuple[str, Event]]:
        """Return a page of those events that the API key may read, as `EditQueue.events` does."""
        page = await self._get("/v1/events", {"after": after, "limit": limit})
        return [(one["cursor"], _event(one)) for one in page["data"]]

    async def deliveries(self, dead: bool, since: float, limit: int) -> list[DeliveryRecord]:
        """Return up to `limit` deliveries, newest first; with `dead`, only dead letters."""
        query = {"state": "dead" if dead else None, "since": since or None}
        return [delivery_from(one) async for one in self._pages("/v1/deliveries", limit, query)]

    async def deliveries_of(self, job: str) -> list[DeliveryRecord]:
        """Return a job's deliveries, oldest first."""
        return [delivery_from(one) for one in (await self._timeline(job))["deliveries"]]

    async def redeliver(self, delivery: str) -> str:
        """Send a delivery again by hand; return what happened, as `EditQueue.redeliver` does."""
        try:
            return str((await self._post(f"/v1/deliveries/{delivery}/redeliver"))["outcome"])
        except UnknownJob:
            return "unknown"
        except StateConflict:
            return "gone"

    async def receiver(self, url: str, tenant: str) -> Receiver:
        """Return the receiver at a URL; create one if there is none."""
        return receiver_from(
            await self._post("/v1/receivers", {"url": url, "tenant": own_tenant(tenant), "every_job": False})
        )

    async def pause(self, lane: str) -> None:
        """Stop dispatching in a lane; the API key must have role `ops`."""
        await self._post("/v1/pause", query={"lane": lane})

    async def resume(self, lane: str) -> None:
        """Allow dispatching in a lane again; the API key must have role `ops`."""
        await self._post("/v1/resume", query={"lane": lane})

    async def status(self, lane: str) -> LaneNumbers:
        """Return the numbers of a lane."""
        return lane_from((await self._get("/v1/status"))[lane])

    async def audit(self, wanted: AuditFilter, limit: int) -> list[AuditLine]:
        """Return up to `limit` matching lines of the audit, newest first; the API key must have role `ops`."""
        return [audit_line_from(one) async for one in self._pages("/v1/audit", limit, audit_query(wanted))]

    async def ended(self) -> dict[str, int]:
        """Return {state: number of jobs that have ever ended in this state}."""
        return dict((await self._get("/v1/status"))["ended"])

    async def failing(self, most: int) -> tuple[int, list[FailingReceiver]]:
        """Return how many receivers fail, and up to `most` of those that have failed longest."""
        document = await self._get("/v1/status")
        return int(document["receivers_failing"]), [failing_from(one) for one in document["failing_receivers"][:most]]

    async def workers(self) -> list[Worker]:
        """Return the workers that have announced themselves; none to a key of role `producer`, or of an old gateway."""
        return [worker_from(one) for one in (await self._get("/v1/status")).get("workers", [])]

    async def usage(self, tenant: str | None, since: date | None, by: By) -> list[UsageRow]:
        """Return the calls of one tenant, or of all that the API key may read, summed up by tenant, day or tag."""
        rows, cursor = list[UsageRow](), None
        while True:
            page = await self._get("/v1/usage", {"tenant": tenant, "since": since, "by": by, "cursor": cursor})
            rows += [UsageRow(**row) for row in page["data"]]
            cursor = page["next_cursor"]
            if not cursor:
                return rows

    async def stats(self, tenant: str | None, since: float, by: history.By | None) -> Stats:
        """Return the statistics of one tenant, or of all that the API key may read."""
        return stats_from(await self._get("/v1/stats", {"tenant": tenant, "since": f"{since:.3f}", "by": by}))

    async def news(self, after: str | None) -> tuple[str, set[str]]:
        """Return the next cursor, and the ids of the jobs that had events after the cursor `after`; see `News`."""
        page = await self._get("/v1/events", {"after": after or "latest", "limit": 1_000}, _WAIT if after else None)
        return page["next_cursor"], {event["data"]["job_id"] for event in page["data"]}

    async def keep_input(self, name: str, data: bytes, tenant: str) -> str:  # noqa: ARG002 - they come from data and key
        """Upload a picture, which the gateway keeps for a week, and return its URL."""
        return str((await self._post("/v1/uploads", data))["url"])

    async def input_link(self, name: str) -> str:
        """Return a placeholder with the form of a URL; only the upload returns the real URL."""
        return f"https://upload.invalid/{name}"


class BlockingGatewayTransport(GatewayTransport):
    """The `Transport` over a gateway, for code that may block."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, ThreadConcurrency())

    @property
    def connections(self) -> Connections:
        """Raise `OnlyOverRedis`: a client of a gateway cannot reach the stores."""
        raise OnlyOverRedis

    def image_links(self, record: JobRecord) -> Link:
        """
        Return a function that makes a link from a blob's name, for this job's images and thumbnails.

        The links are routes of the gateway, which ask for the API key.
        """
        own = f"{self._settings.gateway_url}/v1/edits/{record.id}"
        # If the endpoint answered with the same bytes twice, the link has the first of the two places.
        places = {image.name: place for place, image in reversed([*enumerate(record.images)])}
        queries = {name: f"?index={place}" if place else "" for name, place in places.items()}
        queries |= {thumbnail_name(name): query for name, query in queries.items()}
        return lambda name: f"{own}/{'thumbnail' if is_thumbnail(name) else 'image'}{queries[name]}"


def _event(document: Document) -> Event:
    return Event(type=document["type"], timestamp=document["timestamp"], data=document["data"])
