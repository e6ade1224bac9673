"""Which jobs and deliveries a command means: newest first, over all tenants or of one, from a time on."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from producer.cli.desk import Desk
from producer.cli.wrong_use import WrongUse
from retouch.states import JobState
from retouch.store.deliveries import DeliveryRecord
from retouch.store.records import JobRecord

_PAGE = 200


def jobs(desk: Desk, state: str | None, tenant: str | None, since: float) -> Iterator[JobRecord]:
    """Walk jobs newest first, enqueued since a Unix time; ids begin with their time, so tenants merge by them."""
    if state and state not in list(JobState):
        raise WrongUse(f"--state: expected one of {', '.join(JobState)}, got {state[:40]!r}")
    if desk.settings.gateway_url:
        for job in desk.queue.jobs(state, tenant=tenant, since=since, limit=100_000):
            yield from desk.records([job.id])
        return
    store = desk.connections.jobs
    walks = [store.ids(name, since=since) for name in ([tenant] if tenant else store.tenants())]
    for page in _pages(heapq.merge(*walks, reverse=True)):
        yield from (record for record in store.records(page) if state in (None, record.state))


def deliveries(
    desk: Desk, since: float, wanted: Callable[[DeliveryRecord], bool], *, dead: bool
) -> Iterator[DeliveryRecord]:
    """Walk deliveries newest first, made (dead ones: given up) since a Unix time."""
    store = desk.connections.deliveries
    for page in _pages(store.ids(dead=dead, since=since)):
        yield from (record for record in store.records(page) if wanted(record))


def _pages(items: Iterable[str]) -> Iterator[list[str]]:
    left = iter(items)
    while page := list(islice(left, _PAGE)):
        yield page
