"""
Puts many jobs on record in a minute or two. A script in Redis copies templates.

A template is a job with its delivery. The real scripts make the templates, so the copies look like real records. Each
copy gets ids, a tenant, tags, a receiver, an account and instants of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

from redis import Redis

from retouch.accounts import Account
from retouch.outcomes import Cancel, Decision, Fail, Image, Ready, Retry, Succeed
from retouch.store import keys
from retouch.store.audit import Actor, AuditLog
from retouch.store.deliveries import DeliveryStore
from retouch.store.history import roll_up
from retouch.store.jobs import JobStore, NewJob
from retouch.store.lanes import Lanes
from retouch.store.receivers import ReceiverStore
from retouch.store.records import JobSpec
from retouch.store.redis_commands import Client
from retouch_ops.bench.seeding_script import SCRIPT
from retouch_worker.deliveries.schedule import DeliveryOutcome, settlement_of

TENANTS, SPAN_S = 10, 3 * 86_400
CROWDED, CROWD = "tenant0", 20_000
"""The tenant that has `CROWD` receivers. Each other tenant has one receiver."""
AUDIT_LINES = 100_000
RARE = "rare"
"""A tag `order=rare`, an error code, an account and a receiver that three jobs have, whatever the number of jobs."""
_CHUNK = 1_000
_LEASE_S, _LIFE_S = 600.0, 30 * 86_400
_DIGEST = "ab" * 32
_IMAGE = Image(f"ab/{_DIGEST}.png", _DIGEST, "PNG", 1024, 1024, 300_000)
_READY = Ready(("https://out.example/a.png",), "7")
_EDIT = {"prompt": "make it winter, with snow on the roofs", "init_image": "https://a.example/in.png", "steps": 50}


@dataclass(frozen=True, slots=True)
class _Kind:
    """
    One kind of job. Of 1,000 jobs, `share` are of this kind.

    `attempts` are the attempts of the template. A job without attempts waits.
    """

    share: int
    attempts: tuple[tuple[str, Decision], ...] = ()


def _failed(code: str) -> tuple[str, Decision]:
    return "failed", Fail(code, "the endpoint failed", retryable=True)


_OK: tuple[str, Decision] = ("succeeded", Succeed(_IMAGE))
_AGAIN: tuple[str, Decision] = ("", Retry(0.0, "endpoint_failed", "again"))
_KINDS = {
    "succeeded": _Kind(800, (_OK,)),
    "twice": _Kind(30, (_AGAIN, _OK)),
    "spam_filter": _Kind(50, (_failed("spam_filter"),)),
    "endpoint_failed": _Kind(40, (_failed("endpoint_failed"),)),
    "cancelled": _Kind(30, (("", Cancel()),)),
    "waits": _Kind(50),
    RARE: _Kind(0, (_AGAIN, _AGAIN, _AGAIN, _AGAIN, _failed(RARE))),
}


def seed(client: Client, plain: Redis, count: int) -> Iterator[int]:
    """
    Delete all data, then write `count` jobs with deliveries, receivers, history, ledger and audit.

    From time to time, yield the number of jobs so far. The instants of the jobs are in the last three days. The lanes
    are paused, so nothing is dispatched. `plain` is a client of redis-py on the same Redis, for commands that only this
    module needs.
    """
    templates = json.dumps([_template(client, plain, name, kind) for name, kind in _KINDS.items()])
    plain.flushdb()
    Lanes(client).open([Account("default", "", "", key_env="A"), Account("dear", "", "", key_env="B")])
    Lanes(client).pause()
    Lanes(client).pause("deliveries")
    _add_receivers(client)
    since = time.time() - SPAN_S
    run = client.register_script(SCRIPT)
    for first in range(0, count, _CHUNK):
        run(args=[first, min(_CHUNK, count - first), count, since, SPAN_S, templates, TENANTS, CROWD, _LIFE_S])
        if first % (50 * _CHUNK) == 0:
            yield first
    roll_up(client)
    _add_audit(client)
    yield count


def receiver(number: int) -> str:
    """Return the id of a receiver of the crowded tenant."""
    return f"rc_{number:020d}"


def _template(client: Client, plain: Redis, name: str, kind: _Kind) -> dict[str, object]:
    """Make one job of a kind, with its delivery, and return the records of both."""
    plain.flushdb()
    jobs, deliveries = JobStore(client, retention_s=_LIFE_S), DeliveryStore(client)
    Lanes(client).open([Account("default", "", "", limit=5)])
    ReceiverStore(client).add("@tenant@", "https://r.example/hook")
    (hook,) = client.smembers(keys.receivers("@tenant@"))
    spec = JobSpec("@tenant@", dict(_EDIT), 3_600.0, tags={"order": "@order@", "campaign": "@campaign@"})
    job = NewJob("ed_template", spec.to_json(), "@tenant@", "normal", 3_600.0)
    jobs.enqueue([job])
    for answer, decision in kind.attempts:
        claim = jobs.claim(job.id, _LEASE_S)
        assert claim is not None
        jobs.intend(claim)
        if answer:
            jobs.answer(claim, answer, None)
        jobs.settle(claim, decision)
        client.hdel("rt:rescue", "next_at")
        for item in client.zrange(keys.lane("edits", "timetable"), 0, -1):
            plain.zadd(keys.lane("edits", "timetable"), {item: 1.0})
        Lanes(client).rescue(1.0, _LEASE_S, _LIFE_S)
    state = client.hgetall(keys.state("edits", job.id)) if kind.attempts else {}
    return {
        "name": name,
        "share": kind.share,
        "state": state.get("state", "open"),
        "spec": client.get(keys.spec("edits", job.id)),
        "fields": [text for pair in state.items() for text in pair],
        "timeline": client.lrange(keys.timeline(job.id), 0, -1),
        "delivery": _delivery(client, deliveries, hook),
    }


def _delivery(client: Client, deliveries: DeliveryStore, hook: str) -> dict[str, object] | None:
    """
    Settle the delivery of a template job as succeeded. Return its records, or None if the job has no delivery yet.
    """
    for item in client.zrange(keys.lane("deliveries", "slots"), 0, -1):
        claim = deliveries.claim(item, _LEASE_S)
        assert claim is not None
        deliveries.settle(claim, settlement_of(DeliveryOutcome(204), claim.number, claim.by_hand, 0.0, 0.5))
        state = client.hgetall(keys.state("deliveries", item))
        return {
            "spec": (client.get(keys.spec("deliveries", item)) or "").replace(hook, "@receiver@"),
            "fields": [text for pair in state.items() for text in pair],
            "log": client.lrange(keys.delivery_log(item), 0, -1),
        }
    return None


def _add_receivers(client: Client) -> None:
    """
    Add `CROWD` receivers for the crowded tenant, and disable every tenth of them. Add one receiver for each other
    tenant.
    """
    store = ReceiverStore(client)
    for number in range(1, TENANTS):
        store.ensure(f"tenant{number}", "https://r.example/hook")
    for first in range(0, CROWD, _CHUNK):
        with client.pipeline(transaction=False) as pipe:
            for number in range(first, first + _CHUNK):
                identity = receiver(number)
                for name, value in (("secret", "s"), ("tenant", CROWDED), ("url", f"https://r.example/{number}")):
                    pipe.hset(keys.receiver(identity), name, value)
                for index in (keys.RECEIVERS, keys.receivers_by_tenant(CROWDED)):
                    pipe.zadd(index, {identity: 0})
                pipe.zadd(keys.RECEIVERS_OF_JOBS, {identity: time.time()})
            pipe.execute()
    for number in range(0, CROWD, 10):
        store.set_disabled(receiver(number), disabled=True)


def _add_audit(client: Client) -> None:
    """Write one line to the audit log, then add 100,000 copies of it."""
    AuditLog(client).record(Actor("http", "0123456789abcdef", "staff", "ops"), "edit.cancel", CROWDED, ids=["ed_1"])
    ((_, fields),) = client.xrevrange(keys.AUDIT, "+", "-", count=1)
    flat = [text for pair in fields.items() for text in pair]
    copy = "for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', unpack(ARGV, 2)) end"
    for _ in range(0, AUDIT_LINES, _CHUNK):
        client.eval(copy, 1, keys.AUDIT, _CHUNK, *flat)
