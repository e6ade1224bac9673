"""What the moving commands do, one id after another, and what they say about each."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

from producer.cli import listing, words
from producer.cli.desk import Desk, open_desk
from producer.cli.wrong_use import WrongUse
from retouch.batches import batched
from retouch.errors import QueueFull, UnknownJob
from retouch.store.lanes import LANES
from retouch.store.records import JobRecord

_UNKNOWN = "unknown"
_MEANING = {
    "final": "it had ended already",
    "requested": "its call is under way, and the job ends with it",
    "open": "it is still under way, nothing to do",
    "succeeded": "it has its image, nothing to do",
    "gone": "its job is no longer on record, so nothing was sent",
    _UNKNOWN: "it never was, or its retention is over",
}


def cancel_jobs(given: Sequence[str], *, as_json: bool) -> int:
    """Cancel each; 1 when one was over already, 2 when one is not on record."""
    with open_desk() as desk:
        told = {job: _cancel(desk, job) for job in words.ids(given)}
    _tell(told, as_json)
    return _code(told.values(), {"cancelled", "requested"})


def _cancel(desk: Desk, job: str) -> str:
    try:
        return desk.queue.cancel(job)
    except UnknownJob:
        return _UNKNOWN


def replay_jobs(
    given: Sequence[str] | None, since: str | None, *, failed: bool, dry_run: bool, as_json: bool
) -> int:  # fmt: skip
    """
    Replay the jobs named, or all dead letters since a time; says of each what it may cost.

    Where a tenant has no room, its further jobs are left, and it is said how many; those of others go on.
    """
    if failed == bool(given) or (since and not failed):
        raise WrongUse("expected ids, or --failed with a --since if you like")
    at = words.since(since)
    with open_desk() as desk:
        jobs = list(desk.connections.jobs.dead(at)) if failed else words.ids(given or [])
        full: dict[str, QueueFull] = {}
        told = {job: _replay(desk, job, full, dry_run=dry_run) for job in jobs}
    _tell(told, as_json, "no dead letter")
    _report_left(told, full)
    posts = sum("POSTs again" in words for words in told.values())
    if posts and not as_json:
        verb = "would be" if dry_run else "are"
        print(f"{posts} of {len(told)} {verb} POSTed again, which the endpoint may bill")
    return _code((word.partition(":")[0] for word in told.values()), {"replayed", "would be replayed", "open"})


def _replay(desk: Desk, job: str, full: dict[str, QueueFull], *, dry_run: bool) -> str:
    """Replay one job; `full` collects the tenants that have no room, which are not asked again."""
    record = next(iter(desk.records([job])), None)
    if record is None:
        return _UNKNOWN
    if dry_run:
        word = "would be replayed" if record.state in ("failed", "cancelled") else record.state
    else:
        word = _replayed(desk, record, full)
    return f"{word}: {price_of(record)}" if word.endswith("replayed") else word


def _replayed(desk: Desk, record: JobRecord, full: dict[str, QueueFull]) -> str:
    tenant = record.spec.tenant
    try:
        if tenant not in full:
            return desk.queue.replay(record.id)
    except UnknownJob:
        return _UNKNOWN
    except QueueFull as error:
        full[tenant] = error
    return _left(tenant, full[tenant])


def _report_left(told: dict[str, str], full: dict[str, QueueFull]) -> None:
    done = sum(word.startswith("replayed") for word in told.values())
    for tenant, error in full.items():
        left = sum(word == _left(tenant, error) for word in told.values())
        message = f"retouch: {done} of {len(told)} were replayed; {left} are left, tenant {tenant} has no room for them"
        advice = f"Replay them in {error.retry_after_s:.0f} s, or raise its limit."
        print(f"{message} ({error.reason}). {advice}", file=sys.stderr)


def _left(tenant: str, error: QueueFull) -> str:
    return f"left: tenant {tenant} has no room ({error.reason})"


def price_of(record: JobRecord) -> str:
    """Say what a replay of this job may cost."""
    if record.resumable:
        return "resumes from the answer that is paid for, no new charge"
    possible = sum(charge.possible for charge in record.charges)
    before = f", after {possible} possible charge{'s' if possible > 1 else ''} so far" if possible else ""
    return f"POSTs again, a new charge{before}"


def set_paused(lane: str, paused: bool) -> None:
    """Close or open a lane's gate by hand."""
    if lane not in LANES:
        raise WrongUse(f"--lane: expected {' or '.join(LANES)}, got {lane[:40]!r}")
    with open_desk() as desk:
        if paused:
            desk.queue.pause(lane)
            print(f"{lane}: paused; what is in flight ends, the rest waits for `retouch resume --lane {lane}`")
        else:
            desk.queue.resume(lane)
            print(f"{lane}: resumed")


def redeliver_all(
    given: Sequence[str] | None, receiver: str | None, since: str | None, *, dead: bool, as_json: bool
) -> int:  # fmt: skip
    """
    Send the deliveries named again, or a receiver's since a time, or the dead ones.

    1 for those whose job is no longer on record, 2 for unknown ones.
    """
    if bool(given) == bool(receiver or dead):
        raise WrongUse("expected ids, or --dead, or --receiver ID --since TIME")
    if receiver and not since:
        raise WrongUse("--receiver: expected --since beside it, so that not all of a month is sent again")
    at = words.since(since)
    with open_desk() as desk:
        told: dict[str, str] = {}
        for piece in batched(words.ids(given) if given else _meant(desk, receiver, at, dead=dead), 100):
            told |= desk.queue.redeliver(piece)
    _tell(told, as_json, "no delivery")
    return _code(told.values(), {"redelivered", "open"})


def _meant(desk: Desk, receiver: str | None, since: float, *, dead: bool) -> list[str]:
    if receiver and not receiver.startswith("task:") and desk.connections.receivers.get(receiver) is None:
        raise WrongUse(f"--receiver: {receiver[:60]!r} is no receiver; `retouch receivers list` names them")
    found = listing.deliveries(desk, since, lambda one: receiver in (None, one.receiver), dead=dead)
    return [record.id for record in found]


def _tell(told: dict[str, str], as_json: bool, nothing: str = "") -> None:
    if as_json:
        print(json.dumps(told, indent=2))
        return
    print("\n".join(f"{item}  {_explained(word)}" for item, word in told.items()) or nothing)


def _explained(word: str) -> str:
    return f"{word}: {_MEANING[word]}" if word in _MEANING else word


def _code(words_told: Iterable[str], fine: set[str]) -> int:
    told = set(words_told)
    return 2 if _UNKNOWN in told else 1 if told - fine else 0
