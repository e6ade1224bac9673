"""Erasing a tenant: its jobs, images, events, deliveries, receivers and keys go; the ledger of its charges stays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from retouch.blobs import BlobStore, derived_name, name_in
from retouch.states import JobState
from retouch.store import keys
from retouch.store.connect import Client
from retouch.store.jobs import JobStore
from retouch.store.records import JobRecord

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased, and how many jobs are still in flight: those were cancelled and go when it is run again."""

    jobs: int
    images: int
    in_flight: int


def erase_tenant(client: Client, jobs: JobStore, blobs: BlobStore, tenant: str) -> Erased:
    """
    Erase what is kept of a tenant, all but the ledger.

    Waiting jobs are cancelled first; those in flight are cancelled too and stay until their call has ended. An image
    that another tenant's job yielded as well stays for that one. Safe to run again.
    """
    records = list(_records(jobs, tenant))
    for record in records:
        if not JobState(record.state).is_final:
            jobs.cancel(record.id)
    over = [record for record in jobs.records([r.id for r in records]) if JobState(record.state).is_final]
    names = _images(over) - _images(_of_others(jobs, tenant))
    for name in names:
        blobs.delete(name)
        blobs.delete(derived_name(name, "thumb", "webp"))
    if names:
        client.zrem(keys.KEPT, *names)
    for record in over:
        _forget(client, tenant, record.id)
    if len(over) == len(records):
        _forget_tenant(client, tenant)
    return Erased(len(over), len(names), len(records) - len(over))


def _images(records: Iterable[JobRecord]) -> set[str]:
    """Name the images of jobs: what they yielded, and what was uploaded for them."""
    found = {record.result["name"] for record in records if record.result}
    return found | {name for record in records if (name := name_in(record.spec.edit["init_image"]))}


def _of_others(jobs: JobStore, tenant: str) -> list[JobRecord]:
    return [record for other in jobs.tenants() if other != tenant for record in _records(jobs, other)]


def _records(jobs: JobStore, tenant: str) -> Iterator[JobRecord]:
    ids = list(jobs.ids(tenant))
    for start in range(0, len(ids), _PAGE):
        yield from jobs.records(ids[start : start + _PAGE])


def _forget(client: Client, tenant: str, job: str) -> None:
    deliveries = client.lrange(keys.deliveries_of(job), 0, -1)
    for item in deliveries:
        _forget_delivery(client, item)
    with client.pipeline(transaction=True) as pipe:
        pipe.delete(keys.spec("edits", job), keys.state("edits", job), keys.timeline(job), keys.deliveries_of(job))
        pipe.zrem(keys.jobs(tenant), job)
        pipe.zrem(keys.lane("edits", "dead"), job)
        pipe.execute()


def _forget_delivery(client: Client, item: str) -> None:
    own = keys.state("deliveries", item)
    receiver = client.hget(own, "group")
    with client.pipeline(transaction=True) as pipe:
        pipe.delete(keys.spec("deliveries", item), keys.delivery_log(item))
        pipe.zrem(keys.lane("deliveries", "recent"), item)
        pipe.zrem(keys.lane("deliveries", "dead"), item)
        pipe.zrem(keys.lane("deliveries", f"backlog:{receiver}"), item)
        pipe.zrem(keys.lane("deliveries", "timetable"), item)
        pipe.zscore(keys.lane("deliveries", "slots"), item)
        holds_slot = pipe.execute()[-1] is not None
    if not holds_slot:  # one that does finds its spec gone when it is claimed, and gives the slot back
        client.delete(own)


def _forget_tenant(client: Client, tenant: str) -> None:
    """Forget receivers, idempotency keys and tags."""
    for identity in client.smembers("rt:receivers"):
        if client.hget(keys.receiver(identity), "tenant") == tenant:
            client.delete(keys.receiver(identity), keys.lane("deliveries", f"health:{identity}"))
            client.srem("rt:receivers", identity)
    client.delete(keys.receivers(tenant))
    for name in client.scan_iter(f"rt:idem:{tenant}:*", count=1_000):
        client.delete(name)
    for name in client.scan_iter(f"rt:ledger_tags:{tenant}:*", count=1_000):
        client.delete(name)
