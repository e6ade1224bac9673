"""The answer to a dry run."""

from __future__ import annotations

from pydantic import Field

from retouch.store.accounts import Binding as AccountBinding
from retouch.store.queue_position import Binding
from retouch_producer.gateway.schemas.edits import Instant, Schema


class DryRun(Schema):
    """
    The answer to a dry run; nothing was enqueued.

    `binding` is the limit that would make the job wait, or `none`. `position` counts from 1, in the order in which jobs
    of all tenants are dispatched. Estimates use recent durations; they are null for `paused`, `backlog`, `budget` and
    `account`. `account` means that none of the accounts to which the job may go takes jobs. With several accounts, the
    field `account` is the one that would take the job now, and `accounts` has the `binding` of each possible account.
    """

    cost: float = Field(description="Price of one call.")
    cost_at_most: float = Field(description="Price of all charges that max_charges allows.")
    position: int
    estimated_start_at: Instant | None
    estimated_end_at: Instant | None
    binding: Binding
    account: str | None
    accounts: dict[str, AccountBinding]
