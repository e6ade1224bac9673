"""The response bodies of `/v1/accounts`."""

from __future__ import annotations

from typing import Literal

from retouch.accounts import SharedFallback
from retouch.store.accounts import Binding
from retouch_producer.gateway.schemas.edits import Instant, Schema


class AccountCharges(Schema):
    """The number of charges in each class, for the jobs that ended today."""

    useful: int
    repeated: int
    wasted: int
    unknown: int


class Account(Schema):
    """
    An account of the endpoint, without its key.

    `held` of the `limit` slots are taken. `learns` is true if the limit is learnt. `binding` says why the account gets
    no jobs now, or is `none`. `mode` is null if the account is neither paused nor draining. `closed` is null, or the
    code of the answer that closed the account. `tested` is true while one job tests whether a closed account is open
    again. `workers` counts the workers that have the key of the account. `removed` is true once the accounts file does
    not name the account. `calls_today` counts the POSTs of this UTC day, without the free ones.
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
    removed: bool
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


class AccountPage(Schema):
    """All accounts, in the order of the accounts file."""

    data: list[Account]


class AccountTest(Schema):
    """
    The outcome of a test.

    `testing`: a job is let through. `no_job_waiting`: no job waits, and the next one is let through. `not_closed`: the
    account was not closed.
    """

    outcome: Literal["testing", "no_job_waiting", "not_closed"]
    account: Account
