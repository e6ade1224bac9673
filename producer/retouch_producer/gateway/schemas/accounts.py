"""The wire shapes of `/v1/accounts`."""

from __future__ import annotations

from typing import Literal

from retouch.accounts import SharedFallback
from retouch.store.accounts import Binding
from retouch_producer.gateway.schemas.edits import Instant, Shape


class AccountCharges(Shape):
    """The charges of the jobs that ended today, by what they were good for."""

    useful: int
    repeated: int
    wasted: int
    unknown: int


class Account(Shape):
    """
    An account of the endpoint; no key is ever shown.

    `held` of `limit` slots are taken; `learns` is true for a limit that is learnt. `binding` is what keeps jobs from it
    now, or `none`. `mode` is null while it is neither paused nor draining; `closed` is the code of the answer that
    closed it, or null, and `tested` is true while a job is let through to find out. `workers` counts those that hold
    its key. `calls_today` counts the POSTs of this UTC day that were not free.
    """

    id: str
    tier: int
    weight: float
    mode: Literal["paused", "draining"] | None
    binding: Binding
    limit: int
    learns: bool
    held: int
    served: bool
    workers: int
    closed: str | None
    closed_at: Instant | None
    tested: bool
    breaker_open_s: float
    resting_s: float
    rate_per_s: float
    calls_today: int
    calls_per_day: int
    charges_today: AccountCharges
    amount_today: float
    price_per_call: float
    tenants: list[str]
    shared_fallback: SharedFallback


class AccountPage(Shape):
    """All accounts, in the order of the accounts file."""

    data: list[Account]


class AccountTest(Shape):
    """
    What a test came to: a job is let through (`testing`), none waits (`no_job_waiting`: the next one is let through),
    or there was nothing to test (`not_closed`).
    """

    outcome: Literal["testing", "no_job_waiting", "not_closed"]
    account: Account
