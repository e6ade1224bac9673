"""Reads the jobs that the filters of a command select."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from retouch.query import JobQuery, parse_query
from retouch.states import JobState
from retouch.store.records import JobRecord
from retouch.sync_async import iterate_sync
from retouch_producer.cli.context import CommandContext
from retouch_producer.cli.errors import UsageError


def job_query(text: str | None, state: str | None, tenant: str | None, since: float) -> JobQuery:
    """
    Return one query made from the text of a query and the options of a command.

    Raises `InvalidQuery` if the text is no query, and `UsageError` if the state is unknown.
    """
    if state and state not in list(JobState):
        raise UsageError(f"--state: expected one of {', '.join(JobState)}, got {state[:40]!r}")
    options = JobQuery(tenants=(tenant,) if tenant else (), states=(state,) if state else (), since=since)
    return parse_query(text or "", time.time()).also(options)


def jobs(
    context: CommandContext, query: JobQuery, limit: int, on_page: Callable[[int], object] = lambda _: None
) -> Iterator[JobRecord]:
    """
    Yield up to `limit` jobs that match a query, newest first.

    After each page, `on_page` is called with the number of index entries that were read for the page.
    """
    return iterate_sync(context.transport.jobs(query, None, limit, on_page))
