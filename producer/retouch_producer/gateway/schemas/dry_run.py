"""The answer to a dry run."""

from __future__ import annotations

from pydantic import Field

from retouch.store.accounts import Binding as AccountBinding
from retouch.store.queue_position import Binding
from retouch_producer.gateway.schemas.edits import Instant, Schema


class DryRun(Schema):
    """
    The answer to a dry run; nothing was enqueued.

    `binding` names the limit that would make the job wait, or is `none`. It is `account` if none of the accounts for
    this job takes jobs now. `position` is the job's place in the order of dispatch, among the jobs of all tenants, from
    1. The estimates use recent durations. They are null if `binding` is `paused`, `backlog`, `budget` or `account`.
    With several accounts, `account` names the account that would take the job now, and `accounts` has the `binding` of
    each account for this job.
    """

    cost: float = Field(description="Price of one call.")
    cost_at_most: float = Field(description="Price of all charges that max_charges allows.")
    position: int
    estimated_start_at: Instant | None
    estimated_end_at: Instant | None
    binding: Binding
    account: str | None
    accounts: dict[str, AccountBinding]
