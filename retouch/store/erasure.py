"""
Erases a tenant: deletes its jobs, images, events, deliveries, receivers and bulk runs. The ledger of its charges stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from retouch.batches import batched
from retouch.blobs import BlobStore, name_in
from retouch.states import JobState
from retouch.store import keys
from retouch.store.blob_retention import (
    AGAIN_S,
    disown_blobs,
    drop_blob,
    keep_blob,
    owned_blobs,
    owned_by_others,
    release_blobs,
    trim_job_indexes,
)
from retouch.store.bulk import BulkStore
from retouch.store.job_search import indexes_of
from retouch.store.jobs import JobStore
from retouch.store.ledger import TAGS_KEPT_DAYS, day_of
from retouch.store.receivers import ReceiverStore
from retouch.store.records import JobRecord
from retouch.store.redis_commands import Client, Script
from retouch.store.scripts import load

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Erased:
    """
    The numbers of erased jobs and images.

    `in_flight` counts the jobs that were cancelled and have not ended yet; the next call erases them. `images_due`
    counts the images that were written within the last hour. Another tenant's job may still need them, so a worker
    deletes them an hour later.
    """

    jobs: int
    images: int
    in_flight: int
    images_due: int = 0


def erase_tenant(client: Client, jobs: JobStore, blobs: BlobStore, tenant: str) -> Erased:
    """
    Erase a tenant's jobs, images, events, deliveries, receivers and bulk runs, and return how much was erased.

    Open jobs are cancelled first. A job in flight stays until its call has ended; a later call erases it. An image that
    another tenant owns too is kept for that tenant. The ledger, the audit, history, limits and API keys stay; they have
    no prompt and no address.
    """
    records = list(_records(jobs, tenant))
    for record in records:
        if not JobState(record.state).is_final:
            jobs.cancel(record.id)
    # Read again: the cancelled jobs that were only waiting have ended, and others may have ended meanwhile.
    over = [record for record in jobs.records([r.id for r in records]) if JobState(record.state).is_final]
    names = owned_blobs(client, tenant) | _images(over)
    # A job in flight still needs its input, and its result may have the same bytes as that of a job that has ended.
    if len(over) < len(records):
        still_open = {record.id for record in records} - {record.id for record in over}
        names -= _images(jobs.records(sorted(still_open)))
    gone, due = _drop_images(client, blobs, tenant, names)
    for record in over:
        _forget(client, tenant, record)
    if len(over) == len(records):
        _forget_tenant(client, tenant)
    return Erased(len(over), gone, len(records) - len(over), due)


def _drop_images(client: Client, blobs: BlobStore, tenant: str, names: set[str]) -> tuple[int, int]:
    """
    Delete the images that only this tenant owns. Return how many were deleted, and how many a worker will delete an
    hour from now.
    """
    released = release_blobs(client, names - owned_by_others(client, tenant, names))
    # Asked once more: another tenant's job may have ended in between, and the mark does not always show that.
    for name in owned_by_others(client, tenant, released):
        before, mark = released.pop(name)
        keep_blob(client, name, AGAIN_S + before - mark)
    gone = sum(drop_blob(client, blobs, name, mark) for name, (_, mark) in released.items())
    disown_blobs(client, tenant, names)
    return gone, len(released) - gone


def _images(records: Iterable[JobRecord]) -> set[str]:
    """Return the names of the images of jobs: the results, and the input pictures that were uploaded or copied."""
    found = set[str]()
    for record in records:
        found |= {record.spec.input, name_in(record.spec.edit["init_image"])}
        found |= {image.name for image in record.images}
    return found - {""}


def _records(jobs: JobStore, tenant: str) -> Iterator[JobRecord]:
    for ids in _pages(jobs, tenant):
        yield from jobs.records(ids)


def _pages(jobs: JobStore, tenant: str) -> Iterator[list[str]]:
    return batched(list(jobs.ids(tenant)), _PAGE)


def _forget(client: Client, tenant: str, record: JobRecord) -> None:
    job = record.id
    deliveries = client.lrange(keys.deliveries_of(job), 0, -1)
    for item in deliveries:
        _forget_delivery(client, item)
    with client.pipeline(transaction=True) as pipe:
        pipe.delete(keys.spec("edits", job), keys.state("edits", job), keys.timeline(job), keys.deliveries_of(job))
        for index in (keys.jobs(tenant), *indexes_of(record)):
            pipe.zrem(index, job)
        pipe.zrem(keys.lane("edits", "dead"), job)
        pipe.execute()


def _forget_delivery(client: Client, item: str) -> None:
    own = keys.state("deliveries", item)
    group, target = client.hmget(own, "group", "target")
    with client.pipeline(transaction=True) as pipe:
        pipe.delete(keys.spec("deliveries", item), keys.delivery_log(item))
        pipe.zrem(keys.lane("deliveries", "recent"), item)
        pipe.zrem(keys.lane("deliveries", "dead"), item)
        pipe.zrem(keys.lane("deliveries", f"backlog:{group}"), item)
        pipe.zrem(keys.lane("deliveries", "timetable"), item)
        # Read within the transaction: a delivery that is claimed between two commands would lose its state.
        pipe.zscore(keys.lane("deliveries", "slots"), item)
        pipe.zrem(keys.lane("deliveries", f"waiting:{target}"), item)
        slot, waited = pipe.execute()[-2:]
    if waited and target:
        _count_waiting(client, target, -waited)
    if slot is None:  # otherwise, the claim of the delivery finds no spec and frees the slot
        client.zrem(keys.lane("deliveries", f"admitted:{target}"), item)
        client.delete(own)


def _count_waiting(client: Client, target: str, by: int) -> None:
    """Add `by` to the number of waiting deliveries of the tenant to which a target belongs."""
    name, tenant = keys.lane("deliveries", "waiting_by_tenant"), target.partition(" ")[0]
    if client.hincrby(name, tenant, by) <= 0:
        client.hdel(name, tenant)


def _forget_tenant(client: Client, tenant: str) -> None:
    """Delete the data that may outlive a tenant's jobs: deliveries, receivers, bulk runs, idempotency keys and tags."""
    own = keys.deliveries_by_tenant(tenant)
    while page := client.zrange(own, 0, _PAGE - 1):
        for item in page:
            _forget_delivery(client, item)
        client.zrem(own, *page)
    receivers = ReceiverStore(client)
    for receiver in receivers.all(tenant):
        receivers.remove(receiver.id)
    client.delete(keys.receivers(tenant), keys.receivers_by_tenant(tenant))
    _forget_targets(client, tenant)
    _forget_bulk_runs(client, tenant)
    trim_job_indexes(client, tenant)
    for kind in ("idem", "shared"):
        for name in client.scan_iter(f"rt:{kind}:{tenant}:*", count=1_000):
            client.delete(name)
    today = day_of(time.time())
    client.delete(*(keys.ledger_tags(tenant, today - ago) for ago in range(TAGS_KEPT_DAYS + 1)))


def _forget_targets(client: Client, tenant: str) -> None:
    """Delete the state of a tenant's targets, since the names of the targets contain the hosts of receivers."""
    prefix = keys.lane("deliveries", "target:")
    for name in client.scan_iter(f"{prefix}{tenant} *", count=1_000):
        client.zrem(keys.lane("deliveries", "shut"), name.removeprefix(prefix))
        client.delete(name)


def _forget_bulk_runs(client: Client, tenant: str) -> None:
    """
    Abort and delete the bulk runs of a tenant, and runs of others whose query names only this tenant.

    The query of a run may have tags of the tenant's jobs.
    """
    runs = BulkStore(client)
    abort: Script[str] = load(client, "bulk_abort")
    for ids in batched(client.zrange(keys.bulk_runs(""), 0, -1), _PAGE):
        for run in runs.records(ids):
            if tenant in (run.tenant, run.tenants_text):
                abort(args=[run.id])
                client.delete(keys.bulk(run.id))
                for index in (keys.BULK_RUNS, f"{keys.BULK_RUNS}:{run.tenant}"):
                    client.zrem(index, run.id)
