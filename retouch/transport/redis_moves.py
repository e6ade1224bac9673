"""The calls of the transport over Redis that change one job or delivery."""

from __future__ import annotations

from collections.abc import Sequence

from retouch.concurrency import Concurrency
from retouch.connections import SharedConnections
from retouch.store.audit import Actor
from retouch.store.jobs import queue_full
from retouch.store.records import JobRecord
from retouch.store.redis_client import clear_errors
from retouch.store.scripts import Message
from retouch.transport.interface import not_on_record


class RedisMoves:
    """Changes jobs and deliveries by hand. Each change is written into the audit as one of `actor`."""

    def __init__(self, connections: SharedConnections, concurrency: Concurrency, actor: Actor) -> None:
        self.connections, self.concurrency, self.actor = connections, concurrency, actor

    async def record(self, job: str) -> JobRecord:
        """Return a job; raise `UnknownJob` if it is not on record."""
        with clear_errors():
            found = await self.connections.jobs.record.awaited(job)
        if found is None:
            raise not_on_record(job)
        return found

    async def cancel(self, job: str) -> str:
        """Cancel a job; return what happened, as `Job.cancel` does."""
        with clear_errors():
            word = await self._publish_moved(job, *await self.connections.jobs.cancel.awaited(job))
            await self._note(word, "edit.cancel", job)
        return word

    async def replay(self, job: str) -> str:
        """Enqueue a failed or cancelled job again; return what happened, as `Job.replay` does."""
        with clear_errors():
            word = await self._publish_moved(job, *await self.connections.jobs.replay.awaited(job))
            await self._note(word, "edit.replay", job)
        kind, _, reason = word.partition(" ")
        # As over a gateway: a tenant without room is an error, any other word is a result.
        if kind == "full":
            raise queue_full((await self.record(job)).spec.tenant, reason)
        return word

    async def approve(self, job: str) -> str:
        """Mark the result of a job as approved; return what happened, as `Job.approve` does."""
        with clear_errors():
            word = await self.connections.approvals.approve.awaited(job, self.actor.label)
            return await self._noted(word, "edit.approve", job)

    async def unapprove(self, job: str) -> str:
        """Take the mark of a job back; return what happened, as `Job.unapprove` does."""
        with clear_errors():
            word = await self.connections.approvals.unapprove.awaited(job)
            return await self._noted(word, "edit.unapprove", job)

    async def _noted(self, word: str, action: str, job: str) -> str:
        """Write a change of a mark into the audit, and return the script's word; raise `UnknownJob` for `unknown`."""
        await self._note(word, action, job)
        if word == "unknown":
            raise not_on_record(job)
        return word

    async def redeliver(self, delivery: str) -> str:
        """Send a delivery again by hand; return what happened, as `EditQueue.redeliver` does."""
        with clear_errors():
            word, messages = await self.connections.deliveries.redeliver.awaited(delivery)
            await self._note(word, "delivery.redeliver", delivery)
        await self.publish(messages)
        return word

    async def _note(self, outcome: str, action: str, item: str) -> None:
        """Write a change of a job or delivery into the audit, unless `outcome` says that nothing was changed."""
        await self.connections.audit.record_move.awaited(self.actor, action, item, outcome)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send messages, in a thread if this is a client on an event loop."""
        if messages:
            await self.concurrency.run_blocking(self.connections.publisher.publish, messages)

    async def _publish_moved(self, job: str, word: str, messages: Sequence[Message]) -> str:
        """Send the messages, and return the word that a script returned. Raise `UnknownJob` for the word `unknown`."""
        await self.publish(messages)
        if word == "unknown":
            raise not_on_record(job)
        return word
