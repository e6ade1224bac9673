"""Deliveries in Redis. A delivery is one event that must reach one receiver; its record includes its attempts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice

from retouch.store import keys
from retouch.store.pagination import IndexCursor, walk
from retouch.store.redis_commands import AnyClient, Client, Script
from retouch.store.scripts import Message, fields_of, load, messages_of
from retouch.sync_async import Replied, reply, sync_async

_PAGE = 500


@dataclass(frozen=True, slots=True)
class DeliveryClaim:
    """
    A delivery whose lease a worker holds, with the event that the worker must send.

    `number` is the number of this attempt, from 1. `by_hand` is true if a person asked for the attempt. `age_s` is the
    time since the delivery was created or last redelivered by hand. `crashes` counts the workers that died, one after
    another, while they held the delivery.
    """

    delivery: str
    fence: int
    job: str
    sequence: int
    type: str
    receiver: str
    tenant: str
    number: int
    by_hand: bool
    age_s: float = 0.0
    crashes: int = 0

    lane = "deliveries"

    @property
    def item(self) -> str:
        """Return the delivery's id. Claims of both lanes have this attribute."""
        return self.delivery


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """
    One attempt of a delivery, for people. `at` is in Unix seconds; `attempt` counts from 1.

    `status` is None if there was no answer; `trouble` then says why. `excerpt` is the start of the answer's body.
    `next_in_s` is the wait before the next attempt; it is None if no attempt follows.
    """

    at: float
    attempt: int
    status: int | None
    trouble: str = ""
    latency_s: float = 0.0
    excerpt: str = ""
    by_hand: bool = False
    next_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """
    The decision that follows one delivery attempt.

    `move` is `delivered`, `retrying` or `dead`. `counts_as_attempt` is false if nothing was sent. `health` is `ok`,
    `failed`, or empty if the attempt shows nothing about the receiver. `log` is kept for 30 days. `disable` is true if
    the receiver must get no more webhooks.
    """

    move: str
    delay_s: float
    log: DeliveryAttempt
    counts_as_attempt: bool = True
    health: str = ""
    disable: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """
    Everything on record about a delivery; `log` has its attempts.

    Instants are in Unix seconds; `state` is a value of `DeliveryState`.
    """

    id: str
    job: str
    sequence: int
    type: str
    receiver: str
    tenant: str
    state: str
    attempt: int
    created_at: float | None
    due_at: float | None
    finished_at: float | None
    log: list[DeliveryAttempt] = field(default_factory=list)


class SharedDeliveryStore:
    """
    The methods for deliveries that producers use, in threads and on event loops.

    Methods that change a delivery also return the Celery messages that the caller must send.
    """

    def __init__(self, client: AnyClient) -> None:
        self._client = client
        self._redeliver: Script[Replied[tuple[str, list[str]]]] = load(client, "redeliver")

    @sync_async
    async def redeliver(self, delivery: str) -> tuple[str, list[Message]]:
        """
        Send a delivery again by hand; return a word and the Celery messages to send.

        The word is `redelivered`, or the reason why nothing was done: `open` (the delivery is still under way), `gone`
        (its job is no longer on record) or `unknown`.
        """
        word, messages = await reply(self._redeliver(args=[delivery]))
        return word, messages_of(messages)

    @sync_async
    async def records(self, deliveries: Sequence[str]) -> list[DeliveryRecord]:
        """
        Return many deliveries in the order of their ids, in one round trip; leave out those that are not on record.
        """
        pipe = self._client.pipeline(transaction=False)
        # Three commands for each, so the replies below are read three by three.
        for item in deliveries:
            pipe.get(keys.spec("deliveries", item)).hgetall(keys.state("deliveries", item))
            pipe.lrange(keys.delivery_log(item), 0, -1)
        replies = iter(await reply(pipe.execute()))
        rows = zip(deliveries, zip(replies, replies, replies, strict=True), strict=True)
        return [_record(item, spec, state, log) for item, (spec, state, log) in rows if spec]

    @sync_async
    async def matching(
        self, deliveries: Sequence[str], *, tenant: str = "", receiver: str = "", state: str = ""
    ) -> list[DeliveryRecord]:
        """
        Return the records of the deliveries that have this tenant, receiver and state, in the order of `deliveries`.

        An empty text matches every value. Whole records are read only for deliveries that match.
        """
        kept = await self.matching_ids.awaited(deliveries, tenant=tenant, receiver=receiver, state=state)
        return await self.records.awaited(kept) if kept else []

    @sync_async
    async def matching_ids(
        self, deliveries: Sequence[str], *, tenant: str = "", receiver: str = "", state: str = ""
    ) -> list[str]:
        """Return the ids of the deliveries that `matching` would return; this reads only the compared fields."""
        kept = list(deliveries)
        if kept and (tenant or receiver):
            specs = await reply(self._client.mget([keys.spec("deliveries", item) for item in kept]))
            found = [(item, json.loads(spec)) for item, spec in zip(kept, specs, strict=True) if spec]
            kept = [
                item for item, spec in found if tenant in ("", spec["tenant"]) and receiver in ("", spec["receiver"])
            ]
        if kept and state:
            pipe = self._client.pipeline(transaction=False)
            for item in kept:
                pipe.hget(keys.state("deliveries", item), "state")
            states = await reply(pipe.execute())
            kept = [item for item, own in zip(kept, states, strict=True) if (own or "dead") == state]
        return kept

    @sync_async
    async def of_job(self, job: str) -> list[DeliveryRecord]:
        """Return a job's deliveries, oldest first."""
        return await self.records.awaited(await reply(self._client.lrange(keys.deliveries_of(job), 0, -1)))

    @sync_async
    async def page(self, start: int, count: int, *, dead: bool = False, since: float = 0.0) -> list[str]:
        """
        Return up to `count` ids of deliveries, newest first, without the first `start` ids.

        Only deliveries that were created at `since` or later (Unix seconds) are returned. With `dead`, only dead
        letters that failed at `since` or later are returned.
        """
        index = keys.lane("deliveries", "dead" if dead else "recent")
        return await reply(self._client.zrevrangebyscore(index, "+inf", since, start=start, num=count))


class DeliveryStore(SharedDeliveryStore):
    """All methods for deliveries, for code that may block: workers and operators use it."""

    _client: Client

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._claim: Script[list[str]] = load(client, "claim")
        self._settle: Script[tuple[str, list[str]]] = load(client, "settle_delivery")

    def claim(self, delivery: str, lease_s: float) -> DeliveryClaim | None:
        """Take the delivery's lease; return None if another worker holds it or the delivery has ended."""
        reply = self._claim(args=["deliveries", delivery, lease_s, ""])
        if not reply:
            return None
        spec, state = json.loads(reply[0]), fields_of(reply[3:])
        number, by_hand = int(state.get("attempt", 0)) + 1, state.get("by_hand") == "1"
        # The clock of Redis may have gone back, for example because another server has become the primary.
        age_s = max(0.0, float(reply[1]) - float(state["score"]))
        crashes = int(state.get("crashes", 0))
        return DeliveryClaim(
            delivery, int(state["fence"]), number=number, by_hand=by_hand, age_s=age_s, crashes=crashes, **spec
        )

    def settle(self, claim: DeliveryClaim, settlement: Settlement) -> list[Message]:
        """
        Record one attempt and its settlement, and return the Celery messages to send. If the lease was lost, return an
        empty list.
        """
        log = json.dumps(asdict(settlement.log), separators=(",", ":"))
        _, messages = self._settle(
            args=[
                claim.delivery,
                claim.fence,
                settlement.move,
                settlement.delay_s,
                int(settlement.counts_as_attempt),
                log,
                settlement.health,
                int(settlement.disable),
            ]
        )
        return messages_of(messages)

    def redeliver_many(self, deliveries: Sequence[str]) -> tuple[list[str], list[Message]]:
        """
        Send deliveries again by hand, in one round trip. Return the word that `redeliver` returns for each, and the
        Celery messages to send.
        """
        with self._client.pipeline(transaction=False) as pipe:
            for item in deliveries:
                self._redeliver(args=[item], client=pipe)
            replies = pipe.execute()
        return [word for word, _ in replies], [message for _, sent in replies for message in messages_of(sent)]

    def pages_to_receiver(
        self, tenant: str, receiver: str, *, since: float = 0.0, state: str = ""
    ) -> Iterator[list[str]]:
        """
        Yield lists of ids of a tenant's deliveries to one receiver, newest first. A list may be empty.

        Only deliveries that were created at `since` (Unix seconds) or later are listed. With `state`, a delivery must
        be in this state when its page is read.
        """
        after: IndexCursor | None = None
        # From an entry and not from a rank: deliveries that are created meanwhile move all ranks.
        while places := list(
            islice(walk(self._client, [keys.deliveries_by_tenant(tenant)], since=since, after=after), _PAGE)
        ):
            yield self.matching_ids([place.item for place in places], receiver=receiver, state=state)
            after = places[-1]

    def ids(self, *, dead: bool = False, since: float = 0.0, page: int = 500) -> Iterator[str]:
        """Yield the ids of all deliveries, newest first; with `dead`, those of dead letters only."""
        # Read by rank: a delivery that is created meanwhile moves the others by one, so an id may be yielded twice.
        start = 0
        while batch := self.page(start, page, dead=dead, since=since):
            yield from batch
            start += len(batch)


def _record(item: str, spec: str, state: dict[str, str], log: list[str]) -> DeliveryRecord:
    def instant(name: str) -> float | None:
        return float(state[name]) if state.get(name) else None

    return DeliveryRecord(
        id=item,
        state=state.get("state", "dead"),
        attempt=int(state.get("attempt", 0)),
        created_at=instant("created_at"),
        due_at=instant("due_at"),
        finished_at=instant("finished_at"),
        log=[DeliveryAttempt(**json.loads(entry)) for entry in log],
        **json.loads(spec),
    )
