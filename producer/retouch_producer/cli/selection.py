"""Reads the jobs and deliveries that the filters of a command select."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from retouch.batches import batched
from retouch.states import JobState
from retouch.store.deliveries import DeliveryRecord
from retouch.store.records import JobRecord
from retouch.sync_async import iterate_sync
from retouch_producer.cli.context import CommandContext
from retouch_producer.cli.errors import WrongUse

_PAGE = 200


def jobs(
    context: CommandContext, state: str | None, tenant: str | None, since: float, limit: int
) -> Iterator[JobRecord]:
    """Yield up to `limit` jobs, newest first, that were enqueued since a Unix time. Raises `WrongUse`."""
    if state and state not in list(JobState):
        raise WrongUse(f"--state: expected one of {', '.join(JobState)}, got {state[:40]!r}")
    return iterate_sync(context.transport.jobs(JobState(state) if state else None, tenant, since, limit))


def deliveries(
    context: CommandContext, since: float, matches: Callable[[DeliveryRecord], bool], *, dead: bool
) -> Iterator[DeliveryRecord]:
    """Yield matching deliveries, newest first, that were created (or with `dead`, became dead) since a Unix time."""
    store = context.connections.deliveries
    for page in batched(store.ids(dead=dead, since=since), _PAGE):
        yield from (record for record in store.records(page) if matches(record))
