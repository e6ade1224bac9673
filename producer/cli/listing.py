"""Which jobs and deliveries a command means: newest first, over all tenants or of one, from a time on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from producer.cli.desk import Desk
from producer.cli.wrong_use import WrongUse
from retouch.batches import batched
from retouch.both_ways import each_at_once
from retouch.states import JobState
from retouch.store.deliveries import DeliveryRecord
from retouch.store.records import JobRecord

_PAGE = 200


def jobs(desk: Desk, state: str | None, tenant: str | None, since: float, limit: int) -> Iterator[JobRecord]:
    """Walk jobs newest first, enqueued since a Unix time, up to a number."""
    if state and state not in list(JobState):
        raise WrongUse(f"--state: expected one of {', '.join(JobState)}, got {state[:40]!r}")
    return each_at_once(desk.access.jobs(JobState(state) if state else None, tenant, since, limit))


def deliveries(
    desk: Desk, since: float, wanted: Callable[[DeliveryRecord], bool], *, dead: bool
) -> Iterator[DeliveryRecord]:
    """Walk deliveries newest first, made (dead ones: given up) since a Unix time."""
    store = desk.connections.deliveries
    for page in batched(store.ids(dead=dead, since=since), _PAGE):
        yield from (record for record in store.records(page) if wanted(record))
