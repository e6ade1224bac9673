"""The answer to a dry run."""

from __future__ import annotations

from pydantic import Field

from retouch.store.accounts import Binding as AccountBinding
from retouch.store.queue_position import Binding
from retouch_producer.gateway.schemas.edits import Instant, Schema


class DryRun(Schema):
    """
    The answer to a dry run; nothing was enqueued.

    `binding` names the limit that would make the job wait, or is `none`. It is `account` if the job may go only to
    accounts that take no jobs now. `position` counts from 1, in the order in which jobs of all tenants are dispatched.
    The estimates use recent durations; they are null if `binding` is `paused`, `backlog`, `budget` or `account`. With
    several accounts, the field `account` names the account that would take the job now, and `accounts` has the
    `binding` of each account to which the job may go.
    """

    cost: float = Field(description="Price of one call.")
    cost_at_most: float = Field(description="Price of all charges that max_charges allows.")
    position: int
    estimated_start_at: Instant | None
    estimated_end_at: Instant | None
    binding: Binding
    account: str | None
    accounts: dict[str, AccountBinding]
