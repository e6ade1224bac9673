"""The accounts of the endpoint in the store: their numbers, and the changes that an operator may make to an account."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from retouch.accounts import DEFAULT_ACCOUNT, SharedFallback
from retouch.errors import RetouchError
from retouch.store import keys
from retouch.store.lanes import AUTO_START
from retouch.store.ledger import CLASSES, day_of
from retouch.store.redis_commands import AnyClient, Client
from retouch.sync_async import reply, sync_async

Mode = Literal["", "paused", "draining"]
"""`paused`: workers send neither calls nor polls. `draining`: workers send no new calls, but poll work in progress."""


Binding = Literal[
    "none", "unserved", "closed", "paused", "draining", "calls_per_day", "breaker", "resting", "in_flight"
]
"""The reason why an account gets no jobs. `resting`: its queue was full. `in_flight`: all of its slots are taken."""


class UnknownAccount(RetouchError):
    """Raised for an id that no account of the accounts file has. Without such a file, every id is unknown."""


@dataclass(frozen=True, slots=True)
class AccountNumbers:
    """
    The numbers of one account. Instants are in Unix seconds.

    The account has `limit` slots, of which `held` are taken; `learns` is true if the limit is learnt. `served` is true
    while a living worker holds the account's key. With an accounts file, `workers` counts these workers. `removed` is
    true if the file of the worker that read it last does not name the account. `closed` is the code of the answer that
    closed the account at `closed_at`, or empty. `tested` is true while one job is let through to a closed account, to
    test it. If the breaker is open, calls begin again in `breaker_open_s` seconds. If the account's queue was full,
    calls begin again in `resting_s` seconds.

    `calls_today` counts the POSTs of this UTC day, without those that were free; `calls_per_day` is their bound (0:
    none). `charges_today` has the charges of jobs that ended today, by class of the ledger. `amount_today` is their
    price.
    """

    id: str
    limit: int
    learns: bool
    held: int
    served: bool
    removed: bool
    workers: int
    mode: Mode
    closed: str
    closed_at: float | None
    tested: bool
    breaker_open_s: float
    resting_s: float
    calls_today: int
    calls_per_day: int
    charges_today: Mapping[str, int]
    amount_today: float
    price_per_call: float
    tier: int
    weight: float
    rate_per_s: float
    tenants: tuple[str, ...]
    shared_fallback: SharedFallback

    @property
    def takes_jobs(self) -> bool:
        """Whether the account is served, and is not paused, draining or closed; an open breaker does not matter."""
        return self.served and not self.mode and not self.closed

    @property
    def binding(self) -> Binding:
        """
        The reason why the account gets no jobs now: the first one in the order of `Binding`. `none` if it gets jobs.
        """
        bounds: tuple[tuple[Binding, bool], ...] = (
            ("unserved", not self.served),
            ("closed", bool(self.closed) and not self.tested),
            ("paused", self.mode == "paused"),
            ("draining", self.mode == "draining"),
            ("calls_per_day", 0 < self.calls_per_day <= self.calls_today),
            ("breaker", self.breaker_open_s > 0),
            ("resting", self.resting_s > 0),
            ("in_flight", self.held >= self.limit),
        )
        return next((name for name, binds in bounds if binds), "none")


class LimitStep(NamedTuple):
    """A change of a learnt limit: the instant `at` (Unix seconds), and the new limit."""

    at: float
    limit: int


def accounts_for(tenant: str, accounts: Sequence[AccountNumbers]) -> list[AccountNumbers]:
    """
    Return the accounts to which a tenant's new jobs may go: its own, and the shared ones.

    Shared accounts are left out if one of the tenant's own accounts has the `shared_fallback` `never`.
    """
    own = [account for account in accounts if tenant in account.tenants]
    if any(account.shared_fallback == "never" for account in own):
        return own
    return [*own, *(account for account in accounts if not account.tenants)]


def highest_price(client: Client, tenants: Sequence[str], usual: float) -> float:
    """
    Return the highest price that a call of these tenants' jobs may have; no tenants means all tenants.

    `usual` is the price if there is no accounts file.
    """
    known = AccountStore(client).all()
    found = [one for tenant in tenants for one in accounts_for(tenant, known)] if tenants else known
    return max((account.price_per_call for account in found), default=usual)


class AccountStore:
    """Reads the accounts in the store, and pauses, drains, resumes and tests single accounts."""

    def __init__(self, client: AnyClient) -> None:
        self._client = client

    @sync_async
    async def ids(self) -> tuple[str, ...]:
        """Return the ids of all accounts, in the file's order; empty if the only account is that of the settings."""
        return tuple((await reply(self._client.hget(keys.account_gate(DEFAULT_ACCOUNT), "accounts")) or "").split())

    @sync_async
    async def all(self) -> list[AccountNumbers]:
        """
        Return the numbers of all accounts, in the file's order; empty if the only account is that of the settings.

        This takes two round trips.
        """
        ids, day = await self.ids.awaited(), day_of(time.time())
        pipe = self._client.pipeline(transaction=False)
        pipe.time().zcard(keys.lane("edits", "slots")).hgetall(keys.HELD_BY_ACCOUNT).hgetall(keys.account_calls(day))
        pipe.zrange(keys.ACCOUNT_WORKERS, 0, -1, withscores=True)
        for account in ids:
            pipe.hgetall(keys.account_gate(account))
            pipe.hmget(keys.account_ledger(account), *(f"{day} {kind}" for kind in CLASSES))
        (seconds, micros), slots, held, calls, workers, *rows = await reply(pipe.execute())
        held[DEFAULT_ACCOUNT] = slots - sum(map(int, held.values()))
        now = int(seconds) + int(micros) / 1e6
        serving = Counter(member.partition(" ")[0] for member, until in workers if until > now)
        gates = zip(ids, rows[::2], rows[1::2], strict=True)
        return [
            _numbers(account, gate, int(held.get(account, 0)), int(calls.get(account, 0)), charges, serving, now)
            for account, gate, charges in gates
        ]

    @sync_async
    async def of_settings(
        self, charges_today: Mapping[str, int], calls_today: int, price_per_call: float, is_served: bool
    ) -> AccountNumbers:
        """
        Return the numbers of the account `default` of the settings, for use when there is no accounts file.

        In this case the store counts nothing by account. Therefore the caller passes today's charges and calls, and
        whether a worker is alive. The mode is `paused` if the lane is paused.
        """
        pipe = self._client.pipeline(transaction=False)
        pipe.time().zcard(keys.lane("edits", "slots")).hgetall(keys.account_gate(DEFAULT_ACCOUNT))
        (seconds, micros), held, gate = await reply(pipe.execute())
        now = int(seconds) + int(micros) / 1e6
        served_until = now + 1 if is_served else 0
        known = {**gate, "price": str(price_per_call), "served_until": str(served_until)}
        if gate.get("paused") == "1":
            known["mode"] = "paused"
        charges = [str(charges_today.get(kind, 0)) for kind in CLASSES]
        return _numbers(DEFAULT_ACCOUNT, known, held, calls_today, charges, {}, now)

    @sync_async
    async def show(self, account: str) -> AccountNumbers:
        """Return the numbers of one account; raise `UnknownAccount` for an unknown id."""
        found = [numbers for numbers in await self.all.awaited() if numbers.id == account]
        if not found:
            raise UnknownAccount(f"expected one of the accounts {', '.join(await self.ids.awaited())}, got {account!r}")
        return found[0]

    @sync_async
    async def limit_steps(self, account: str) -> list[LimitStep]:
        """
        Return the changes of an account's learnt limit, oldest first.

        The store keeps the latest 500 changes, and drops all of them three days after the last change.
        """
        steps = await reply(self._client.lrange(keys.limit_steps(account), 0, -1))
        pairs = [step.split(" ") for step in reversed(steps)]
        return [LimitStep(float(at), int(limit)) for at, limit in pairs]

    @sync_async
    async def pause(self, account: str) -> None:
        """
        Stop all calls and polls to an account; raise `UnknownAccount` for an unknown id.

        Calls that are under way continue to their end.
        """
        await self._set_mode(account, "paused")

    @sync_async
    async def drain(self, account: str) -> None:
        """
        Stop new calls to an account; raise `UnknownAccount` for an unknown id.

        Workers still poll the jobs that the account has in progress, to their end.
        """
        await self._set_mode(account, "draining")

    @sync_async
    async def resume(self, account: str) -> None:
        """
        End a pause or a drain; raise `UnknownAccount` for an unknown id.

        This does not open an account that is closed: see `test`.
        """
        await self.show.awaited(account)
        await reply(self._client.hdel(keys.account_gate(account), "mode"))

    @sync_async
    async def test(self, account: str) -> bool:
        """
        Let one job through to a closed account, and return True; return False if the account is not closed.

        The endpoint's answer to that job opens the account, or closes it again. While there is no answer, further jobs
        are let through: the first after 10 s, later ones after up to 5 min. Raise `UnknownAccount` for an unknown id.
        """
        if not (await self.show.awaited(account)).closed:
            return False
        await reply(self._client.hset(keys.account_gate(account), "open_until", 0))
        return True

    async def _set_mode(self, account: str, mode: Mode) -> None:
        await self.show.awaited(account)
        await reply(self._client.hset(keys.account_gate(account), "mode", mode))


def _numbers(
    account: str,
    gate: Mapping[str, str],
    held: int,
    calls: int,
    charges: Sequence[str | None],
    workers: Mapping[str, int],
    now: float,
) -> AccountNumbers:
    counts = {kind: int(count or 0) for kind, count in zip(CLASSES, charges, strict=True)}
    price, closed = float(gate.get("price", 0)), gate.get("closed", "")
    open_until = float(gate.get("open_until", 0))
    fallback = gate.get("fallback", "never")
    return AccountNumbers(
        id=account,
        limit=int(gate.get("limit", AUTO_START)),
        learns=gate.get("learn") == "1",
        held=held,
        served=float(gate.get("served_until", 0)) > now,
        removed=gate.get("removed") == "1",
        workers=workers.get(account, 0),
        mode=next((mode for mode in get_args(Mode) if mode == gate.get("mode")), ""),
        closed=closed,
        closed_at=float(gate["closed_at"]) if "closed_at" in gate else None,
        tested=bool(closed) and ("probing" in gate or open_until <= now),
        breaker_open_s=0.0 if closed else max(0.0, open_until - now),
        resting_s=max(0.0, float(gate.get("full_until", 0)) - now),
        calls_today=calls,
        calls_per_day=int(gate.get("calls_per_day", 0)),
        charges_today=counts,
        amount_today=round(sum(counts.values()) * price, 6),
        price_per_call=price,
        tier=int(gate.get("tier", 1)),
        weight=float(gate.get("weight", 1)),
        rate_per_s=float(gate.get("rate", 0)),
        tenants=tuple(gate.get("tenants", "").split()),
        shared_fallback=next((word for word in get_args(SharedFallback) if word == fallback), "never"),
    )
