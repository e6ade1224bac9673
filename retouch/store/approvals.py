"""Approvals: the mark by which a person accepts the result of a job. It is a part of the job's state."""

from __future__ import annotations

from retouch.store.redis_commands import AnyClient, Script
from retouch.store.scripts import load
from retouch.sync_async import Replied, reply, sync_async


class ApprovalStore:
    """
    Sets and takes back the marks of jobs, in threads and on event loops.

    Each method returns what happened. `unchanged`, `no_result` (the job has not succeeded) and `unknown` mean that
    nothing was done.
    """

    def __init__(self, client: AnyClient) -> None:
        self._approve: Script[Replied[str]] = load(client, "approve")

    @sync_async
    async def approve(self, job: str, by: str) -> str:
        """Mark the job's result as approved; return `approved`, or why nothing was done. `by` says who approves it."""
        return await reply(self._approve(args=[job, by]))

    @sync_async
    async def unapprove(self, job: str) -> str:
        """Take the mark back; return `unapproved`, or why nothing was done."""
        return await reply(self._approve(args=[job, ""]))
