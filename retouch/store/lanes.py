"""The lanes: their gates and numbers, and the two calls that each worker makes for all lanes, heartbeat and rescue."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retouch.accounts import Account
from retouch.store import keys
from retouch.store.redis_commands import AnyClient, Client, Script, Value
from retouch.store.scripts import Message, load, messages_of
from retouch.sync_async import reply, run_sync, sync_async

LANES = ("edits", "deliveries")
DELIVERIES_START = 16  # until a worker has reported how many threads it has
LEAST_WEIGHT, MOST_WEIGHT = 0.01, 1_000.0
AUTO_START, AUTO_CEILING = 5, 15  # the endpoint's plans allow 5, 10 or 15 requests at a time


@dataclass(frozen=True, slots=True)
class LaneNumbers:
    """
    The numbers of a lane.

    `waiting` items are in the backlog, and `parked` items in the timetable. `held` of `limit` slots are taken. `dead`
    counts dead letters. `waiting_by_group` has the waiting items of each tenant. `breaker_open_s` is the time until
    calls go out again, 0 while the breaker is closed. With several accounts of the endpoint, only accounts that take
    jobs count: `limit` is the sum of their limits, and `breaker_open_s` is the time until the first of their breakers
    closes.
    """

    waiting: int
    held: int
    limit: int
    parked: int
    dead: int
    paused: bool
    breaker_open_s: float
    waiting_by_group: dict[str, int]


class SharedLanes:
    """The methods for lanes that producers use, in threads and on event loops."""

    def __init__(self, client: AnyClient) -> None:
        self._client = client

    @sync_async
    async def pause(self, lane: str = "edits") -> None:
        """Stop dispatching in a lane; jobs that hold a slot go on."""
        await reply(self._client.hset(keys.lane(lane, "gate"), "paused", 1))

    @sync_async
    async def resume(self, lane: str = "edits") -> None:
        """Allow dispatching in a lane again; jobs are dispatched from the next call of `Lanes.rescue` on."""
        await reply(self._client.hdel(keys.lane(lane, "gate"), "paused"))

    @sync_async
    async def numbers(self, lane: str) -> LaneNumbers:
        """Return the numbers of a lane."""
        pipe = self._client.pipeline(transaction=False)
        for ready in ("ready", "ready:unproven"):
            pipe.zrange(keys.lane(lane, ready), 0, -1)
        pipe.hkeys(keys.lane(lane, "held")).hkeys(keys.lane(lane, "limits")).hkeys(keys.lane(lane, "budgets"))
        # No other group has a backlog: a group that waits may run now, or holds slots, or has a limit or budget.
        groups = sorted({group for names in await reply(pipe.execute()) for group in names if group != "~"})
        pipe.zcard(keys.lane(lane, "slots")).zcard(keys.lane(lane, "timetable")).zcard(keys.lane(lane, "dead"))
        pipe.hmget(keys.lane(lane, "gate"), "limit", "paused", "open_until", "accounts").time()
        pipe.hgetall(keys.lane(lane, "waiting_by_tenant"))
        for group in groups:
            pipe.zcard(keys.lane(lane, f"backlog:{group}"))
        held, parked, dead, gate, (seconds, _), before, *depths = await reply(pipe.execute())
        limit, paused, open_until, accounts = gate
        waiting = Counter({tenant: int(depth) for tenant, depth in before.items()})
        for group, depth in zip(groups, depths, strict=True):
            waiting[group.removeprefix("~")] += depth
        usual = AUTO_START if lane == "edits" else DELIVERIES_START  # until a worker has opened the lane
        open_s = max(0.0, float(open_until or 0) - seconds)
        if accounts:
            limit, open_s = await self._limit_of(accounts.split(), seconds)
        return LaneNumbers(
            waiting=waiting.total(),
            held=held,
            limit=usual if limit is None else int(limit),
            parked=parked,
            dead=dead,
            paused=paused == "1",
            breaker_open_s=open_s,
            waiting_by_group={tenant: depth for tenant, depth in waiting.items() if depth},
        )

    async def _limit_of(self, accounts: Sequence[str], now: float) -> tuple[int, float]:
        """
        Return two values for the accounts that take jobs: the sum of their limits, and the seconds until the first of
        their breakers closes.
        """
        pipe = self._client.pipeline(transaction=False)
        for account in accounts:
            pipe.hmget(keys.account_gate(account), "limit", "open_until", "served_until", "mode", "closed")
        gates = [
            (int(limit or AUTO_START), max(0.0, float(open_until or 0) - now))
            for limit, open_until, served_until, mode, closed in await reply(pipe.execute())
            if float(served_until or 0) > now and not mode and not closed
        ]
        return sum(limit for limit, _ in gates), min((open_s for _, open_s in gates), default=0.0)


class Lanes(SharedLanes):
    """All methods for lanes, leases, rescue and the settings of gates, for code that may block."""

    _client: Client

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._open: Script[str] = load(client, "open_accounts")
        self._heartbeat: Script[list[str]] = load(client, "heartbeat")
        self._rescue: Script[tuple[str, list[str]]] = load(client, "rescue")

    def open(self, accounts: Sequence[Account]) -> tuple[str, ...]:
        """
        Set the gates of lane `edits` from a worker's accounts; every worker calls this when it starts.

        Return the ids of all accounts that the lane has now: `accounts`, and others that a living worker serves. Return
        an empty tuple if the only account is `default`, which is made from the settings.
        """
        is_file = any(account.key_file or account.key_env for account in accounts)
        texts = json.dumps([_gate_of(account) for account in accounts])
        return tuple(self._open(args=[int(is_file), texts]).split())

    def set_group(self, lane: str, group: str, *, limit: int | None = None, weight: float | None = None) -> None:
        """
        Set the slot limit or the weight of one group; None leaves a value as it is.

        Raises `ValueError`, and changes nothing, for a weight outside 0.01 to 1,000.
        """
        # Each dispatch adds 1/weight to the group's pass: a weight of 0 would stop the group for ever.
        if weight is not None and not LEAST_WEIGHT <= weight <= MOST_WEIGHT:
            raise ValueError(f"weight: expected a number from {LEAST_WEIGHT:g} to {MOST_WEIGHT:g}, got {weight:g}")
        if limit is not None:
            self._client.hset(keys.lane(lane, "limits"), group, limit)
            self._client.hdel(keys.lane("edits", "gate"), "budget_day")  # makes the next sweep look at all tenants
        if weight is not None:
            self._client.hset(keys.lane(lane, "weights"), group, weight)

    def heartbeat(
        self,
        lease_s: float,
        leases: Sequence[tuple[str, str, int]],
        worker: str = "",
        threads: int = 0,
        accounts: Iterable[str] = (),
        process: str = "",
    ) -> list[str]:
        """
        Renew leases (lane, item, fence) in one call; return the items whose lease is lost.

        `worker` is the `announcement` of the process; `threads` is how many deliveries it can send at once. The slots
        of lane `deliveries` are the threads of all workers that had a heartbeat within `lease_s`. `accounts` are
        the accounts that the process serves. If there are several, an account that no worker has named within `lease_s`
        gets no jobs. `process` is the name under which this process counts among the workers of its accounts.
        """
        values: list[Value] = [value for lease in leases for value in lease]
        return self._heartbeat(args=[lease_s, worker, threads, " ".join(accounts), process, *values])

    def leave(self, worker: str, threads: int) -> None:
        """
        Remove the entry of a worker that stops, named as in its heartbeat; the next heartbeat of another worker lowers
        the lane's limit.
        """
        self._client.zrem(keys.lane("deliveries", "workers"), f"{worker} {threads}")

    def rescue(self, tick_s: float, lease_s: float, retention_s: float) -> tuple[float, list[Message]]:
        """
        Sweep both lanes, unless another worker has just swept them. Return the seconds until the next call, and the
        Celery messages to send.
        """
        due_s, messages = self._rescue(args=[tick_s, lease_s, retention_s])
        return float(due_s), messages_of(messages)

    def oldest_waiting(self, tenants: Iterable[str]) -> tuple[str, float] | None:
        """
        Return the tenant whose next job was enqueued first, and that instant (Unix seconds); None if no job waits.

        Only the next job of each tenant in lane `edits` is read, in two round trips.
        """
        names = list(tenants)
        with self._client.pipeline(transaction=False) as pipe:
            for tenant in names:
                pipe.zrange(keys.lane("edits", f"backlog:{tenant}"), 0, 0)
            following = [(tenant, ids[0]) for tenant, ids in zip(names, pipe.execute(), strict=True) if ids]
            for tenant, job in following:
                pipe.zscore(keys.jobs(tenant), job)
            instants = pipe.execute()
        found = [(at, tenant) for (tenant, _), at in zip(following, instants, strict=True) if at is not None]
        return (min(found)[1], min(found)[0]) if found else None

    def numbers_of(self, lane: str, tenant: str) -> LaneNumbers:
        """
        Return one tenant's numbers in a lane, with the limit, pause and breaker of the whole lane.

        `parked` is 0 in lane `deliveries`, and `dead` is 0 in both lanes.
        """
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.lane(lane, "gate"), "limit", "paused", "open_until", "accounts").time()
            pipe.zcard(keys.jobs_by("state", tenant, "retrying")).hget(keys.lane(lane, "waiting_by_tenant"), tenant)
            # A tenant's deliveries to unproven targets are in a group of their own.
            for group in (tenant, f"~{tenant}"):
                pipe.zcard(keys.lane(lane, f"backlog:{group}")).hget(keys.lane(lane, "held"), group)
            (limit, paused, open_until, accounts), (seconds, _), parked, before, *rows = pipe.execute()
        waiting, held = int(before or 0) + sum(rows[::2]), sum(int(count or 0) for count in rows[1::2])
        usual = AUTO_START if lane == "edits" else DELIVERIES_START
        open_s = max(0.0, float(open_until or 0) - seconds)
        if accounts:
            limit, open_s = run_sync(self._limit_of(accounts.split(), seconds))
        return LaneNumbers(
            waiting=waiting,
            held=held,
            limit=usual if limit is None else int(limit),
            parked=parked if lane == "edits" else 0,
            dead=0,
            paused=paused == "1",
            breaker_open_s=open_s,
            waiting_by_group={tenant: waiting} if waiting else {},
        )


def _gate_of(account: Account) -> dict[str, object]:
    """Return the fields that `open` writes into the gate of an account."""
    auto = account.limit == "auto"
    return {
        "id": account.id,
        "learn": int(auto),
        "limit": AUTO_START if auto else account.limit,
        "ceiling": AUTO_CEILING if auto else account.limit,
        "rate": account.rate_per_s,
        "calls_per_day": account.calls_per_day,
        "price": account.price_per_call,
        "tier": account.tier,
        "weight": account.weight,
        "tenants": account.tenants,
        "fallback": account.shared_fallback,
    }
