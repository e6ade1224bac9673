"""Erasing a tenant: its jobs, images, events, deliveries, receivers and keys go; the ledger of its charges stays."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from retouch.blobs import BlobStore, name_in, names_in
from retouch.states import JobState
from retouch.store import keys
from retouch.store.connect import Client
from retouch.store.jobs import JobStore
from retouch.store.kept import AGAIN_S, drop_blob, keep_blob, release_blobs
from retouch.store.records import JobRecord

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Erased:
    """
    What was erased, and how many jobs are still in flight: those were cancelled and go when it is run again.

    `images_due` were put within the last hour, perhaps by a job of somebody else that is about to end: a worker deletes
    them when an hour is over.
    """

    jobs: int
    images: int
    in_flight: int
    images_due: int = 0


def erase_tenant(client: Client, jobs: JobStore, blobs: BlobStore, tenant: str) -> Erased:
    """
    Erase what is kept of a tenant, all but the ledger.

    Waiting jobs are cancelled first; those in flight are cancelled too and stay until their call has ended. An image
    or picture that another tenant's job leads to as well stays for that one. Safe to run again.
    """
    records = list(_records(jobs, tenant))
    for record in records:
        if not JobState(record.state).is_final:
            jobs.cancel(record.id)
    over = [record for record in jobs.records([r.id for r in records]) if JobState(record.state).is_final]
    gone, due = _drop_images(client, jobs, blobs, over)
    for record in over:
        _forget(client, tenant, record.id)
    if len(over) == len(records):
        _forget_tenant(client, tenant)
    return Erased(len(over), gone, len(records) - len(over), due)


def _drop_images(client: Client, jobs: JobStore, blobs: BlobStore, over: list[JobRecord]) -> tuple[int, int]:
    """
    Delete the images that these jobs alone lead to; gives how many are gone, and how many a worker deletes in an hour.

    Other jobs are read once more after the images were released: one that ended in between, and is kept for a shorter
    time than was on record for its image, changed nothing there.
    """
    own, names = {record.id for record in over}, _images(over)
    names -= _led_to(jobs, names, own)
    released = release_blobs(client, names)
    for name in _led_to(jobs, names, own):
        before, mark = released.pop(name)
        keep_blob(client, name, AGAIN_S + before - mark)
    gone = sum(drop_blob(client, blobs, name, mark) for name, (_, mark) in released.items())
    return gone, len(released) - gone


def _images(records: Iterable[JobRecord]) -> set[str]:
    """Name the images of jobs: what they yielded, and what was uploaded or kept for them."""
    found = set[str]()
    for record in records:
        found |= {record.spec.input, name_in(record.spec.edit["init_image"])}
        found |= {record.result["name"]} if record.result else set()
    return found - {""}


def _led_to(jobs: JobStore, names: set[str], own: set[str]) -> set[str]:
    """Give those of the names that the records of other jobs than these speak of. Reads all jobs if there is a name."""
    found = set[str]()
    for tenant in jobs.tenants() if names else ():
        for ids in _pages(jobs, tenant):
            if others := [job for job in ids if job not in own]:
                found.update(*(names & names_in(text) for text in _texts(jobs.client, others)))
    return found


def _texts(client: Client, ids: list[str]) -> Iterator[str]:
    """Read those parts of job records that may lead to images, and no more: there may be a million jobs."""
    with client.pipeline(transaction=False) as pipe:
        pipe.mget([keys.spec("edits", job) for job in ids])
        for job in ids:
            pipe.hget(keys.state("edits", job), "result")
        specs, *results = pipe.execute()
    return (text for text in (*specs, *results) if text)


def _records(jobs: JobStore, tenant: str) -> Iterator[JobRecord]:
    for ids in _pages(jobs, tenant):
        yield from jobs.records(ids)


def _pages(jobs: JobStore, tenant: str) -> Iterator[list[str]]:
    ids = list(jobs.ids(tenant))
    return (ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE))


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
    """Forget receivers, idempotency keys, tags, and deliveries, which outlive their jobs."""
    recent = client.zrange(keys.lane("deliveries", "recent"), 0, -1)
    for start in range(0, len(recent), _PAGE):
        page = recent[start : start + _PAGE]
        specs = client.mget([keys.spec("deliveries", item) for item in page])
        for item, spec in zip(page, specs, strict=True):
            if spec and json.loads(spec)["tenant"] == tenant:
                _forget_delivery(client, item)
    for identity in client.smembers("rt:receivers"):
        if client.hget(keys.receiver(identity), "tenant") == tenant:
            client.delete(keys.receiver(identity), keys.lane("deliveries", f"health:{identity}"))
            client.srem("rt:receivers", identity)
            client.zrem(keys.RECEIVERS_OF_JOBS, identity)
    client.delete(keys.receivers(tenant))
    for name in client.scan_iter(f"rt:idem:{tenant}:*", count=1_000):
        client.delete(name)
    for name in client.scan_iter(f"rt:ledger_tags:{tenant}:*", count=1_000):
        client.delete(name)
