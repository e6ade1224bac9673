"""Jobs in Redis: a method for each script that changes jobs, and methods that read them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

from retouch.batches import batched_by
from retouch.errors import IdempotencyConflict, QueueFull
from retouch.outcomes import Decision, LeaseLost, Processing, Ready
from retouch.store import keys
from retouch.store.answers import RawAnswer, RecordedAnswer, raw_answer_from
from retouch.store.job_settlement import settlement_arguments
from retouch.store.ledger import DAY_S
from retouch.store.records import (
    RECORD_FIELDS,
    Charge,
    Claim,
    JobRecord,
    TimelineEntry,
    claim_from,
    record_from,
    state_of,
    timeline_entry,
)
from retouch.store.redis_commands import AnyClient, Client, Script
from retouch.store.results import checkpoint_from, checkpoint_json
from retouch.store.scripts import Message, fields_of, load, messages_of
from retouch.sync_async import Replied, reply, sync_async

PRIORITY_BOOST_S = {"high": 600.0, "normal": 0.0, "low": -600.0}
"""Seconds of age that a priority adds: a high job overtakes normal jobs of the last ten minutes; no job starves."""

BACKLOG_WAIT_S = 5.0
"""How many seconds a producer is asked to wait before it tries a full backlog again."""

_WORK_MOST = 800  # texts in specs, of which most are tags: a script takes three milliseconds, and Redis answers nobody
_DISK_MS = 1_500  # below the least sensible redis_timeout_s


class NewJob(NamedTuple):
    """
    One job to enqueue. `fingerprint` shows whether a repeated idempotency key belongs to the same request.

    Exact duplicates have the same `share_key`; they become one job if their tenant shares duplicates. `share_key` is
    empty if the picture's bytes are not known. If `spec_json` is empty, the script only looks up the idempotency key.
    """

    id: str
    spec_json: str
    tenant: str
    priority: str
    deadline_s: float
    idempotency_key: str = ""
    fingerprint: str = "-"
    share_key: str = ""


class EnqueueResult(NamedTuple):
    """
    The result of one request to enqueue.

    `kind` is `new` if a job was enqueued; the field `new` has this job. It is `replayed` if the idempotency key belongs
    to an earlier job, and `shared` if the job of an exact duplicate is used. It is `refused`, with the reason in
    `error`, or `absent` if a look-up found no job for the key. `id` is empty for `refused` and `absent`.
    """

    kind: Literal["new", "replayed", "shared", "refused", "absent"]
    id: str = ""
    error: Exception | None = None
    new: NewJob | None = None


def refused(error: Exception) -> EnqueueResult:
    """Return the result of a request that is refused with this error."""
    return EnqueueResult("refused", error=error)


def queue_full(tenant: str, reason: str, count: int = 1) -> QueueFull:
    """Return the error for `count` jobs that a tenant has no room for; `reason` is `backlog` or `budget`."""
    # A budget that is spent begins anew with the next UTC day.
    wait_s = DAY_S - time.time() % DAY_S if reason == "budget" else BACKLOG_WAIT_S
    return QueueFull(tenant, reason, count, wait_s)


class SharedJobStore:
    """
    The methods that producers use, in threads (`jobs.record(id)`) and on event loops (`await jobs.record.awaited(id)`).

    Every method that changes jobs also returns the Celery messages that the caller must send.
    """

    def __init__(self, client: AnyClient, *, retention_s: float) -> None:
        self.client, self._retention_s = client, retention_s
        self._enqueue: Script[Replied[tuple[list[str], list[str]]]] = load(client, "enqueue")
        self._cancel: Script[Replied[tuple[str, list[str]]]] = load(client, "cancel")
        self._replay: Script[Replied[tuple[str, list[str]]]] = load(client, "replay")

    @sync_async
    async def enqueue(self, jobs: Sequence[NewJob]) -> tuple[list[EnqueueResult], list[Message]]:
        """Enqueue jobs in order, many in each round trip; return one result for each, and the Celery messages."""
        results: list[EnqueueResult] = []
        messages: list[Message] = []
        for part in batched_by(lambda job: 5 + job.spec_json.count('":"'), _WORK_MOST, jobs):
            texts = [text for job in part for text in (_heading(job), job.spec_json)]
            words, sent = await reply(self._enqueue(args=texts))
            results += [_enqueue_result(job, word) for job, word in zip(part, words, strict=True)]
            messages += messages_of(sent)
        return results, messages

    @sync_async
    async def cancel(self, job: str) -> tuple[str, list[Message]]:
        """
        Cancel a job; return a word and the Celery messages to send.

        The word is `cancelled` (the job has ended), `requested` (the job is in flight and ends with its call), `final`
        (it had ended before) or `unknown`.
        """
        word, messages = await reply(self._cancel(args=[job, self._retention_s]))
        return word, messages_of(messages)

    @sync_async
    async def replay(self, job: str, deadline_s: float | None = None) -> tuple[str, list[Message]]:
        """
        Enqueue a failed or cancelled job again; return a word and the Celery messages to send.

        The word is `replayed`, or why nothing was done: the job is `open`, `succeeded` or `unknown`, or its tenant has
        no room (`full backlog`, `full budget`). `deadline_s` counts from now; None means the value in the job's spec.
        """
        deadline = "" if deadline_s is None else deadline_s
        word, messages = await reply(self._replay(args=[job, deadline, self._retention_s]))
        return word, messages_of(messages)

    @sync_async
    async def record(self, job: str) -> JobRecord | None:
        """Return one job, or None if it is not on record."""
        return next(iter(await self.records.awaited([job])), None)

    @sync_async
    async def records(self, jobs: Sequence[str]) -> list[JobRecord]:
        """Return many jobs in the order of their ids, in two round trips; leave out those that are not on record."""
        pipe = self.client.pipeline(transaction=False)
        for job in jobs:
            pipe.get(keys.spec("edits", job)).hmget(keys.state("edits", job), *RECORD_FIELDS)
        replies = await reply(pipe.execute())
        found = [(job, replies[2 * at], replies[2 * at + 1]) for at, job in enumerate(jobs) if replies[2 * at]]
        for job, spec, _ in found:
            pipe.zscore(keys.jobs(json.loads(spec)["tenant"]), job)
        # A job without a state was never dispatched; only the index by time knows when it was enqueued.
        created = await reply(pipe.execute())
        return [record_from(job, spec, at, state_of(raw)) for (job, spec, raw), at in zip(found, created, strict=True)]

    @sync_async
    async def raw_answer(self, job: str) -> RawAnswer | None:
        """Return the endpoint's last answer on record about a job, as it came; None if there is none."""
        return raw_answer_from(await reply(self.client.hget(keys.state("edits", job), "raw_answer")))

    @sync_async
    async def page(
        self, tenant: str, start: int, count: int, *, since: float = 0.0, before: float = float("inf")
    ) -> list[str]:
        """
        Return up to `count` ids of a tenant's jobs, newest first, after the first `start` ids.

        The jobs were enqueued at `since` or later and earlier than `before`, in Unix seconds.
        """
        index = keys.jobs(tenant)
        return await reply(self.client.zrevrangebyscore(index, f"({before}", since, start=start, num=count))

    @sync_async
    async def tenants(self) -> list[str]:
        """Return the names of all tenants that were ever seen, sorted."""
        return sorted(await reply(self.client.smembers(keys.TENANTS)))

    @sync_async
    async def timeline(self, job: str, after: int = 0) -> list[TimelineEntry]:
        """Return the events of a job whose sequence is above `after`, in order."""
        entries = await reply(self.client.lrange(keys.timeline(job), after, -1))
        return [timeline_entry(number, text) for number, text in enumerate(entries, after + 1)]

    @sync_async
    async def entries(self, wanted: Sequence[tuple[str, int]]) -> list[TimelineEntry | None]:
        """Return the events that are wanted as (job, sequence), in one round trip; None for an event that is gone."""
        pipe = self.client.pipeline(transaction=False)
        for job, sequence in wanted:
            pipe.lindex(keys.timeline(job), sequence - 1)
        texts = await reply(pipe.execute())
        found = zip(wanted, texts, strict=True)
        return [timeline_entry(sequence, text) if text else None for (_, sequence), text in found]

    @sync_async
    async def counts(self) -> dict[str, int]:
        """Return {state: number of jobs that have ever ended in this state}."""
        ended = await reply(self.client.hgetall(keys.lane("edits", "counts")))
        return {state: int(count) for state, count in ended.items()}


class JobStore(SharedJobStore):
    """All methods for jobs, including those of workers and operators, for code that may block."""

    client: Client

    def __init__(self, client: Client, *, retention_s: float, durable_intents: bool = False) -> None:
        super().__init__(client, retention_s=retention_s)
        self._durable_intents = durable_intents
        self._claim: Script[list[str]] = load(client, "claim")
        self._intent: Script[str] = load(client, "intent")
        self._answer: Script[tuple[str, list[str], str, str]] = load(client, "answer")
        self._settle: Script[tuple[str, list[str]]] = load(client, "settle")
        self._bring: Script[str] = load(client, "bring")

    def claim(self, job: str, lease_s: float, accounts: Iterable[str] = (), worker: str = "") -> Claim | None:
        """
        Take the job's lease; return None if another worker holds it or the job is over.

        `accounts` are the accounts whose keys the caller has: only jobs of these accounts are claimed. If `accounts` is
        empty, jobs of all accounts are claimed. The job's record then names the process `worker`.
        """
        held = "".join(f" {account}" for account in accounts)
        raw = self._claim(args=["edits", job, lease_s, f"{held} " if held else "", worker])
        return claim_from(job, raw[0], float(raw[1]), fields_of(raw[3:]), raw[2].splitlines()) if raw else None

    def intend(self, claim: Claim) -> str | Processing | Ready:
        """
        Write the intent to POST; return `ok`, or the reason why the attempt must not POST.

        The reason is `stale`, `cancelled` or a gate of `retouch.policy.GATES`. If there is a late answer, its
        checkpoint is returned, and the attempt goes on from it.

        Failure policy: if this call raises, the POST must not happen.
        """
        word = self._intend_durably(claim) if self._durable_intents else self._intent(args=[claim.job, claim.fence])
        # The same as the script has recorded, so that the claim need not be read again.
        if word == "ok":
            claim.number += 1
            claim.charges.append(Charge(claim.fence, claim.now_at, account=claim.account))
        return checkpoint_from(word) or word if word.startswith("{") else word

    def _intend_durably(self, claim: Claim) -> str:
        """Write the intent and wait until it is on the disk of Redis; return the script's word, or `not_on_disk`."""
        # On one connection: WAITAOF waits for the writes of its own connection only.
        with self.client.pipeline(transaction=False) as pipe:
            self._intent(args=[claim.job, claim.fence], client=pipe)
            pipe.execute_command("WAITAOF", 1, 0, _DISK_MS)
            word, confirmed = pipe.execute(raise_on_error=False)
        if isinstance(word, Exception):
            raise word
        if isinstance(confirmed, Exception) or confirmed[0] < 1:
            # No POST follows, and an intent without an answer would count as a possible charge.
            if word == "ok":
                self._answer(args=[claim.job, claim.fence, "refused", "", "", claim.fence, 0, ""])
            return "not_on_disk" if word == "ok" else str(word)
        return str(word)

    def answer(
        self,
        claim: Claim,
        kind: str,
        checkpoint: Processing | Ready | None,
        health: str = "",
        *,
        read_copy: bool = False,
        raw: RawAnswer | None = None,
    ) -> RecordedAnswer:
        """
        Record the class of the answer to a POST, and the checkpoint from which an attempt can go on.

        A worker that lost its lease must call this too: a paid answer still counts. `health` is the endpoint's state,
        as the answer shows it. With `read_copy` the next POST names our copy of the picture. `raw` is kept, if given.
        """
        text, charge = checkpoint_json(checkpoint) if checkpoint else "", claim.charge_in_work
        raw_text = raw.to_json(charge.fence) if raw else ""
        about = (claim.job, claim.fence, kind, text, health, charge.fence, int(read_copy), raw_text)
        _, messages, open_s, event = self._answer(args=about)
        charge.kind = kind
        if checkpoint:
            claim.polls = claim.waits = 0
        return RecordedAnswer(messages_of(messages), float(open_s or 0), event)

    def record_stored_image(self, claim: Claim, ready: Ready, name: str) -> bool:
        """
        Write the checkpoint `ready`, which has the images that are stored so far; return False if the lease was lost.

        `name` is the blob of the image that was just stored, or empty if the image was rejected. The blob is kept for
        the job's retention. The next attempt goes on with the images that the checkpoint does not have yet.
        """
        keep_until = claim.deadline_at + self._retention_s
        word = self._bring(args=[claim.job, claim.fence, checkpoint_json(ready), name, keep_until])
        return word == "ok"

    def settle(self, claim: Claim, decision: Decision) -> list[Message]:
        """Record a decision and end the lease. Return the messages to send, or an empty list if the lease was lost."""
        if isinstance(decision, LeaseLost):
            return []
        _, messages = self._settle(args=[claim.job, claim.fence, *settlement_arguments(decision), self._retention_s])
        return messages_of(messages)

    def ids(self, tenant: str, *, since: float = 0.0, before: float = float("inf"), page: int = 500) -> Iterator[str]:
        """Yield the ids of a tenant's jobs enqueued at `since` or later and earlier than `before`, newest first."""
        start = 0
        while batch := self.page(tenant, start, page, since=since, before=before):
            yield from batch
            start += len(batch)

    def dead(self, since: float = 0.0, page: int = 500) -> Iterator[str]:
        """Yield the ids of jobs of all tenants that became dead letters at `since` or later, newest first."""
        start = 0
        while batch := self.client.zrevrangebyscore(keys.lane("edits", "dead"), "+inf", since, start=start, num=page):
            yield from batch
            start += len(batch)

    def record_with_entry(self, job: str, sequence: int) -> tuple[JobRecord | None, TimelineEntry | None]:
        """Return a job and one event of its timeline, in one round trip; a job or event that is gone is None."""
        with self.client.pipeline(transaction=False) as pipe:
            pipe.get(keys.spec("edits", job)).hmget(keys.state("edits", job), *RECORD_FIELDS)
            pipe.lindex(keys.timeline(job), sequence - 1)
            spec, state, entry = pipe.execute()
        record = record_from(job, spec, None, state_of(state)) if spec else None
        return record, timeline_entry(sequence, entry) if entry else None


def _heading(job: NewJob) -> str:
    """Return the line of values that `enqueue.lua` needs in addition to the spec."""
    # The idempotency key comes last: it may contain spaces.
    boost_s, share_key = PRIORITY_BOOST_S[job.priority], job.share_key or "-"
    return f"{job.id} {job.tenant} {boost_s:g} {job.deadline_s:.3f} {job.fingerprint} {share_key} {job.idempotency_key}"


def _enqueue_result(job: NewJob, word: str) -> EnqueueResult:
    """Return the result for one job from the word that the script returned for it."""
    if word == "new":
        return EnqueueResult("new", job.id, new=job)
    kind, _, rest = word.partition(" ")
    match kind:
        case "replayed":
            return EnqueueResult("replayed", rest)
        case "shared":
            return EnqueueResult("shared", rest)
        case "absent":
            return EnqueueResult("absent")
        case "conflict":
            return refused(IdempotencyConflict("the idempotency key was used for another request"))
        case _:
            return refused(queue_full(job.tenant, rest))
