"""Receivers: the URLs to which a tenant's events are sent, each with its secret and settings."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from retouch.errors import InvalidEdit
from retouch.ids import receiver_id
from retouch.store import keys
from retouch.store.redis_commands import AnyClient, Client, Pipeline, Script
from retouch.store.scripts import load
from retouch.sync_async import reply, sync_async
from retouch.webhooks import new_secret

ROTATION_S = 24 * 3600.0
"""For how many seconds the old secret of a receiver still signs beside the new one."""

OF_EVERY_JOB_MOST = 20  # each adds up to a millisecond to the script that ends a job
_PAGE = 500

UNUSED_S = 90 * 86_400.0
"""For how many seconds a receiver is kept after the last job that named it, unless it was added for every job."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """
    One address for webhooks.

    `secret` signs the webhooks of the receiver (see `verify_webhook`). Until `old_until` (Unix seconds), `old_secret`
    signs too. Without `events` the receiver gets the final events. With `every_job` it gets events of all the tenant's
    jobs, otherwise only of jobs that name its URL.
    """

    id: str
    tenant: str
    url: str = field(repr=False)
    secret: str = field(repr=False)
    old_secret: str = field(default="", repr=False)
    old_until: float = 0.0
    events: tuple[str, ...] = ()
    disabled: bool = False
    every_job: bool = False

    def signing_keys(self, now: float) -> list[str]:
        """Return the secrets that sign a webhook at `now` (Unix seconds): two during a rotation, otherwise one."""
        return [self.secret, self.old_secret] if self.old_secret and now < self.old_until else [self.secret]


class SharedReceiverStore:
    """The methods for receivers that producers use, in threads and on event loops."""

    def __init__(self, client: AnyClient) -> None:
        self._client = client

    @sync_async
    async def ensure(self, tenant: str, url: str) -> Receiver:
        """
        Return the tenant's receiver at this URL; create one with a new secret if there is none.

        Many processes may call this at once. If this is not called for a receiver during `UNUSED_S` seconds, the
        receiver is deleted, unless it gets the events of all jobs.
        """
        identity = receiver_id(tenant, url)
        pipe = self._client.pipeline(transaction=False)
        pipe.zadd(keys.RECEIVERS_OF_JOBS, {identity: time.time()})
        for name, value in (("secret", new_secret()), ("tenant", tenant), ("url", url)):
            pipe.hsetnx(keys.receiver(identity), name, value)  # of two processes, the first one's values stay
        pipe.zadd(keys.RECEIVERS, {identity: 0}).zadd(keys.receivers_by_tenant(tenant), {identity: 0})
        pipe.hgetall(keys.receiver(identity))
        return _receiver(identity, (await reply(pipe.execute()))[-1])


class ReceiverStore(SharedReceiverStore):
    """All methods for receivers, for code that may block."""

    _client: Client

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._change_receiver: Script[int] = load(client, "change_receiver")

    def add(self, tenant: str, url: str, events: Sequence[str] = ()) -> Receiver:
        """
        Add a receiver that gets events of every job of the tenant, and return it.

        The receiver gets the final events, or the events that `events` names. If the tenant has 20 such receivers
        already, this raises `InvalidEdit`: each of them makes every job of the tenant slower.
        """
        own, identity = keys.receivers(tenant), receiver_id(tenant, url)
        # A receiver that exists may be changed, also at the limit.
        if self._client.scard(own) >= OF_EVERY_JOB_MOST and not self._client.sismember(own, identity):
            most = f"expected at most {OF_EVERY_JOB_MOST} receivers of every job of a tenant; remove one first"
            raise InvalidEdit([("url", most)])
        receiver = self.ensure(tenant, url)
        while not self._change(identity, events=",".join(events), every_job="1"):  # it was removed meanwhile
            receiver = self.ensure(tenant, url)
        self._client.sadd(keys.receivers(tenant), receiver.id)
        return self.get(receiver.id) or receiver

    def get(self, identity: str) -> Receiver | None:
        """Return one receiver, or None if it is not on record."""
        raw = self._client.hgetall(keys.receiver(identity))
        return _receiver(identity, raw) if raw else None

    def page(self, tenant: str, limit: int, after: str = "") -> tuple[list[Receiver], str | None]:
        """
        Return up to `limit` receivers of a tenant ("" for all tenants) whose ids follow `after`, sorted by id.

        The second value is the id after which the next page begins, or None at the end.
        """
        index = keys.receivers_by_tenant(tenant) if tenant else keys.RECEIVERS
        ids = self._client.zrangebylex(index, f"({after}" if after else "-", "+", start=0, num=limit + 1)
        own = ids[:limit]
        with self._client.pipeline(transaction=False) as pipe:
            for identity in own:
                pipe.hgetall(keys.receiver(identity))
            found = [_receiver(identity, raw) for identity, raw in zip(own, pipe.execute(), strict=True) if raw]
        return found, own[-1] if len(ids) > limit else None

    def all(self, tenant: str = "") -> Iterator[Receiver]:
        """Yield the receivers of one tenant, or of all if `tenant` is empty, sorted by id, page by page."""
        after: str | None = ""
        while after is not None:
            found, after = self.page(tenant, _PAGE, after)
            yield from found

    def rotate(self, identity: str) -> Receiver | None:
        """
        Replace a receiver's secret and return the receiver; None if it is unknown. For a day, the old secret signs too.
        """
        receiver = self.get(identity)
        if receiver is None:
            return None
        until = time.time() + ROTATION_S
        self._change(identity, secret=new_secret(), old_secret=receiver.secret, old_until=until)
        return self.get(identity)

    def remove(self, identity: str) -> bool:
        """
        Delete a receiver; return False if it is unknown. Deliveries that wait for this receiver become dead letters.
        """
        receiver = self.get(identity)
        if receiver is None:
            return False
        with self._client.pipeline() as pipe:
            pipe.delete(keys.receiver(identity), keys.lane("deliveries", f"health:{identity}"))
            pipe.zrem(keys.RECEIVERS, identity).srem(keys.receivers(receiver.tenant), identity)
            pipe.zrem(keys.receivers_by_tenant(receiver.tenant), identity)
            pipe.zrem(keys.RECEIVERS_OF_JOBS, identity).srem(keys.RECEIVERS_DISABLED, identity)
            self._forget_failing(pipe, receiver)
            pipe.execute()
        return True

    def set_disabled(self, identity: str, disabled: bool) -> Receiver | None:
        """
        Disable or enable a receiver and return it, or None if it is unknown.

        A disabled receiver gets only deliveries that a person sends again.
        """
        self._change(identity, disabled=int(disabled))
        return self.get(identity)

    def _change(self, identity: str, **fields: str | float) -> bool:
        """Change fields of a receiver in one step; return False, and do nothing, if it is not on record."""
        pairs = [part for field_and_value in fields.items() for part in field_and_value]
        return bool(self._change_receiver(args=[identity, *pairs]))

    @staticmethod
    def _forget_failing(pipe: Pipeline, receiver: Receiver) -> None:
        for index in ("failing", f"failing:{receiver.tenant}"):
            pipe.zrem(keys.lane("deliveries", index), receiver.id)


def _receiver(identity: str, raw: dict[str, str]) -> Receiver:
    return Receiver(
        id=identity,
        tenant=raw["tenant"],
        url=raw["url"],
        secret=raw["secret"],
        old_secret=raw.get("old_secret", ""),
        old_until=float(raw.get("old_until", 0)),
        events=tuple(name for name in raw.get("events", "").split(",") if name),
        disabled=raw.get("disabled") == "1",
        every_job=raw.get("every_job") == "1",
    )
