"""Reads the jobs and deliveries that the filters of a command select."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from retouch.batches import batched
from retouch.query import JobQuery, parse_query
from retouch.states import JobState
from retouch.store.deliveries import DeliveryRecord
from retouch.store.records import JobRecord
from retouch.sync_async import iterate_sync
from retouch_producer.cli.context import CommandContext
from retouch_producer.cli.errors import WrongUse

_PAGE = 200


def job_query(text: str | None, state: str | None, tenant: str | None, since: float) -> JobQuery:
    """Return the query that an argument and the options beside it come to; raises `InvalidQuery` and `WrongUse`."""
    if state and state not in list(JobState):
        raise WrongUse(f"--state: expected one of {', '.join(JobState)}, got {state[:40]!r}")
    options = JobQuery(tenants=(tenant,) if tenant else (), states=(state,) if state else (), since=since)
    return parse_query(text or "", time.time()).also(options)


def jobs(
    context: CommandContext, query: JobQuery, limit: int, on_page: Callable[[int], object] = lambda _: None
) -> Iterator[JobRecord]:
    """Walk jobs that fit a query, newest first, up to a number; `on_page` hears how many entries a page looked at."""
    return iterate_sync(context.transport.jobs(query, None, limit, on_page))


def deliveries(
    context: CommandContext, since: float, matches: Callable[[DeliveryRecord], bool], *, dead: bool
) -> Iterator[DeliveryRecord]:
    """Yield matching deliveries, newest first, that were created (or with `dead`, became dead) since a Unix time."""
    store = context.connections.deliveries
    for page in batched(store.ids(dead=dead, since=since), _PAGE):
        yield from (record for record in store.records(page) if matches(record))
