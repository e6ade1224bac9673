"""Deliveries in Redis: each is one event that must reach one receiver, with its attempts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

from retouch.store import keys
from retouch.store.pagination import walk
from retouch.store.redis_commands import AnyClient, Client, Script
from retouch.store.scripts import Message, fields_of, load, messages_of
from retouch.sync_async import Replied, reply, sync_async


@dataclass(frozen=True, slots=True)
class DeliveryClaim:
    """
    A delivery whose lease a worker holds.

    `number` is that of this attempt, from 1. `by_hand` is true when a person asked for it. `age_s` is the time since
    its schedule began, which is when it was created or redelivered by hand. `crashes` counts the workers that died
    while they held it, since the last attempt that ended.
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
        """The delivery's id, under the name that claims of both lanes have."""
        return self.delivery


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """
    One attempt of a delivery, for people. `at` is in Unix seconds; `attempt` counts from 1.

    `status` is None where there was no answer, and `trouble` says why; `excerpt` is the start of the answer's body.
    `next_in_s` is the wait that follows, None where no other attempt does.
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
    What follows one delivery attempt.

    `move` is `delivered`, `retrying` or `dead`. `counts_as_attempt` is false where nothing was sent. `health` is `ok`,
    `failed`, or empty where the attempt shows nothing about the receiver. `log` is kept for 30 days.
    """

    move: str
    delay_s: float
    log: DeliveryAttempt
    counts_as_attempt: bool = True
    health: str = ""
    disable: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """A delivery with its attempts. Instants are in Unix seconds; `state` is a value of `DeliveryState`."""

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
    What producers do with deliveries, in threads and on event loops.

    Methods that change a delivery return the Celery messages that the caller must then send.
    """

    def __init__(self, client: AnyClient) -> None:
        self._client = client
        self._redeliver: Script[Replied[tuple[str, list[str]]]] = load(client, "redeliver")

    @sync_async
    async def redeliver(self, delivery: str) -> tuple[str, list[Message]]:
        """
        Send a delivery again by hand; return `redelivered` with the messages to send.

        Nothing happens to a delivery that is `open` (still under way), `gone` (its job is no longer on record) or
        `unknown`.
        """
        word, messages = await reply(self._redeliver(args=[delivery]))
        return word, messages_of(messages)

    @sync_async
    async def records(self, deliveries: Sequence[str]) -> list[DeliveryRecord]:
        """Read many deliveries with their attempts, in one round trip; leave out those that are gone."""
        pipe = self._client.pipeline(transaction=False)
        # Three commands for each, so the replies below are read three by three.
        for item in deliveries:
            pipe.get(keys.spec("deliveries", item)).hgetall(keys.state("deliveries", item))
            pipe.lrange(keys.delivery_log(item), 0, -1)
        replies = iter(await reply(pipe.execute()))
        rows = zip(deliveries, zip(replies, replies, replies, strict=True), strict=True)
        return [_record(item, spec, state, log) for item, (spec, state, log) in rows if spec]

    @sync_async
    async def of_job(self, job: str) -> list[DeliveryRecord]:
        """Read a job's deliveries, oldest first."""
        return await self.records.awaited(await reply(self._client.lrange(keys.deliveries_of(job), 0, -1)))

    @sync_async
    async def page(self, start: int, count: int, *, dead: bool = False, since: float = 0.0) -> list[str]:
        """Read up to `count` ids of deliveries, newest first, from place `start` on."""
        index = keys.lane("deliveries", "dead" if dead else "recent")
        return await reply(self._client.zrevrangebyscore(index, "+inf", since, start=start, num=count))


class DeliveryStore(SharedDeliveryStore):
    """All deliveries in Redis, for code that may block: what workers and operators do with them too."""

    _client: Client

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._claim: Script[list[str]] = load(client, "claim")
        self._settle: Script[tuple[str, list[str]]] = load(client, "settle_delivery")

    def claim(self, delivery: str, lease_s: float) -> DeliveryClaim | None:
        """Take the delivery's lease; return None if another worker holds it or it is over."""
        reply = self._claim(args=["deliveries", delivery, lease_s, ""])
        if not reply:
            return None
        spec, state = json.loads(reply[0]), fields_of(reply[2:])
        number, by_hand = int(state.get("attempt", 0)) + 1, state.get("by_hand") == "1"
        # Redis' own clock may have gone back, as when another server has become the primary.
        age_s = max(0.0, float(reply[1]) - float(state["score"]))
        crashes = int(state.get("crashes", 0))
        return DeliveryClaim(
            delivery, int(state["fence"]), number=number, by_hand=by_hand, age_s=age_s, crashes=crashes, **spec
        )

    def settle(self, claim: DeliveryClaim, settlement: Settlement) -> list[Message]:
        """Record one attempt and what follows it; do nothing if the lease was lost."""
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

    def ids_of(self, tenant: str, *, since: float = 0.0) -> Iterator[str]:
        """Yield the ids of one tenant's deliveries, newest first."""
        for place in walk(self._client, [keys.deliveries_by_tenant(tenant)], since=since):
            yield place.item

    def ids(self, *, dead: bool = False, since: float = 0.0, page: int = 500) -> Iterator[str]:
        """Yield the ids of all deliveries, or of the dead letters only, newest first."""
        # By rank: a delivery that is created meanwhile moves the rest by one, so one may be yielded twice.
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
