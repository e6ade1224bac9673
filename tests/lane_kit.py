"""Drives the stores in tests of the lanes: the test moves jobs and time, and checks invariants."""

from __future__ import annotations

import json
from collections import Counter
from itertools import count
from math import ceil
from typing import Any, Literal

from retouch.accounts import DEFAULT_ACCOUNT, Account
from retouch.edit import Edit
from retouch.outcomes import Fail, Image
from retouch.store.deliveries import DeliveryStore
from retouch.store.jobs import JobStore, NewJob
from retouch.store.keys import account_gate
from retouch.store.lanes import LANES, Lanes
from retouch.store.receivers import Receiver, ReceiverStore
from retouch.store.records import Claim, JobSpec
from retouch.store.scripts import Message
from retouch_worker.deliveries.schedule import DeliveryOutcome, settlement_of

FINAL = {"edits": {"succeeded", "failed", "cancelled"}, "deliveries": {"delivered", "dead"}}
LEASE_S, RETENTION_S = 15.0, 3_600.0
IMAGE = Image(f"ab/{'ab' * 32}.png", "ab" * 32, "PNG", 1, 1, 1)
EDIT = Edit(prompt="make it winter", init_image="https://a.example/in.png").fields()


def account(name: str, limit: Literal["auto"] | int = 5, **fields: Any) -> Account:
    """Return an account with this id and limit, as it would be read from an accounts file."""
    return Account(name, "https://a.example/edit", "https://a.example/fetch", key_env="KEY", limit=limit, **fields)


class LaneKit:
    """The stores on one Redis, with methods that move jobs and time."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.jobs = JobStore(client, retention_s=RETENTION_S)
        self.lanes = Lanes(client)
        self.deliveries = DeliveryStore(client)
        self.receivers = ReceiverStore(client)
        self._made = count(1)

    def new(self, tenant: str = "acme", priority: str = "normal", deadline_s: float = 3_600.0, **spec: Any) -> NewJob:
        """
        Return a job that is not enqueued yet. `key` is the idempotency key, and `fingerprint` stands for the content of
        the request. Jobs with an equal `share_key` are duplicates of each other.
        """
        key, fingerprint, share_key = spec.pop("key", ""), spec.pop("fingerprint", "-"), spec.pop("share_key", "")
        text = JobSpec(tenant, EDIT, deadline_s, priority=priority, **spec).to_json()
        return NewJob(f"ed_{next(self._made):024}", text, tenant, priority, deadline_s, key, fingerprint, share_key)

    def open(self, limit: Literal["auto"] | int, rate_per_s: float) -> None:
        """Set the gates of lane `edits` as a worker without an accounts file does."""
        self.lanes.open([Account(DEFAULT_ACCOUNT, "", "", limit=limit, rate_per_s=rate_per_s)])

    def open_accounts(self, *accounts: Account) -> None:
        """Set the gates of these accounts, and announce the accounts as served, as does a worker with their keys."""
        self.lanes.open(accounts)
        self.serve(*(account.id for account in accounts))

    def serve(self, *accounts: str, lease_s: float = 3_600.0) -> None:
        """Announce these accounts as served by a living worker, for `lease_s` seconds."""
        self.lanes.heartbeat(lease_s, [], accounts=accounts)

    def enqueue(self, *jobs: NewJob) -> list[Message]:
        """Enqueue jobs and return the messages."""
        return self.jobs.enqueue(jobs)[1]

    def claim(self, job: str) -> Claim:
        """Claim a job, which must be claimable, and return the claim."""
        claim = self.jobs.claim(job, LEASE_S)
        assert claim is not None
        return claim

    def dispatched(self, lane: str = "edits") -> list[str]:
        """Return the ids of the jobs or deliveries that hold a slot, sorted."""
        return sorted(self.client.zrange(f"rt:{lane}:slots", 0, -1))

    def rescue(self) -> list[Message]:
        """
        Run a sweep at once, and return its messages. Neither its due time nor a full queue of the endpoint delays it.
        """
        self.client.hdel("rt:rescue", "next_at")
        self.client.hdel("rt:edits:gate", "full_until")
        return self.lanes.rescue(1.0, LEASE_S, RETENTION_S)[1]

    def make_due(self, lane: str, part: str, *items: str) -> None:
        """
        Move the instants of these items in `part` (`slots`, `timetable` or `shut`) into the past. Without items, do
        this for all items of `part`.
        """
        name = f"rt:{lane}:{part}"
        for item in items or self.client.zrange(name, 0, -1):
            self.client.zadd(name, {item: 1.0}, xx=True)

    def state(self, job: str) -> str:
        """Return the state of a job."""
        record = self.jobs.record(job)
        assert record is not None
        return record.state

    def finish(self, job: str, decision: Any) -> list[Message]:
        """Claim a job and settle it with a decision; return the messages that are to be sent."""
        return self.jobs.settle(self.claim(job), decision)

    def fail_delivery(self, tenant: str, url: str, outcome: DeliveryOutcome) -> Receiver:
        """Make a job fail, settle the delivery of the failure to `url` with `outcome`, and return the receiver."""
        receiver = self.receivers.ensure(tenant, url)
        job = self.new(tenant, receivers=(receiver.id,))
        self.enqueue(job)
        self.finish(job.id, Fail("no_credits", "the account is out of credits", retryable=False))
        (item,) = self.dispatched("deliveries")
        claim = self.deliveries.claim(item, LEASE_S)
        assert claim is not None
        self.deliveries.settle(claim, settlement_of(outcome, claim.number, claim.by_hand, 0.0, 0.5))
        return receiver


def assert_consistent(client: Any, jobs: list[str]) -> None:
    """Assert the invariants of the lanes, of the targets, of these jobs and of all deliveries."""
    for lane in LANES:
        _assert_lane(client, lane)
    _assert_targets(client)
    for job in jobs:
        _assert_in_one_place(client, "edits", job)
    for item in client.zrange("rt:deliveries:recent", 0, -1):
        _assert_in_one_place(client, "deliveries", item)
    parked = [job for name in client.scan_iter("rt:jobs_by_state:*:retrying") for job in client.zrange(name, 0, -1)]
    assert sorted(parked) == sorted(client.zrange("rt:edits:timetable", 0, -1))


def _assert_lane(client: Any, lane: str) -> None:
    slots = client.zrange(f"rt:{lane}:slots", 0, -1)
    held = {group: int(count) for group, count in client.hgetall(f"rt:{lane}:held").items()}
    groups = Counter(client.hget(f"rt:{lane}:state:{item}", "group") for item in slots)
    if unproven := sum(count for group, count in groups.items() if group[0] == "~"):
        groups["~"] = unproven
    assert held == dict(groups), f"{lane}: held {held}, but the slots are of {dict(groups)}"
    gate, own = client.hgetall(f"rt:{lane}:gate"), client.hgetall(f"rt:{lane}:limits")
    usual = {"edits": 5, "deliveries": 16}[lane]
    bound = _bound_of(gate, usual)
    if lane == "edits" and gate.get("accounts"):
        bound = _assert_accounts(client, gate["accounts"].split(), slots)
    share = float("inf") if lane == "edits" else ceil(int(bound) * 3 / 4)
    assert len(slots) <= int(bound), f"{lane}: {len(slots)} in flight, at most {bound} are allowed"

    def limit(group: str) -> float:
        return float(own.get(group, 8 if group[0] == "~" else gate.get("group_limit", share)))

    assert all(held[group] <= limit(group) for group in held if lane == "edits")
    assert held.get("~", 0) <= max(1, int(bound) // 2)
    ready = _in_line(client, lane, "ready")
    assert ready.isdisjoint(_in_line(client, lane, "resting"))
    prefix = f"rt:{lane}:backlog:"
    for name in client.scan_iter(f"{prefix}*"):
        group = name.removeprefix(prefix)
        may_run = held.get(group, 0) < limit(group)
        assert (group in ready) == may_run, f"{lane}: {group} waits with {held.get(group, 0)} held, ready: {ready}"


def _bound_of(gate: dict[str, str], usual: int) -> int:
    """Return the most slots that a gate may hold: its ceiling if the limit is learnt, else its limit, or `usual`."""
    return int(gate["ceiling"] if gate.get("learn") == "1" else gate.get("limit", usual))


def _assert_accounts(client: Any, accounts: list[str], slots: list[str]) -> int:
    """Assert that the count of slots of each account is right and within its limit; return the sum of the limits."""
    held = Counter(client.hget(f"rt:edits:state:{item}", "account") or DEFAULT_ACCOUNT for item in slots)
    counted = {name: int(count) for name, count in client.hgetall("rt:edits:held_by_account").items()}
    assert counted == {name: count for name, count in held.items() if name != DEFAULT_ACCOUNT}
    names = {*accounts, DEFAULT_ACCOUNT, *held}
    bounds = {name: _bound_of(client.hgetall(account_gate(name)), 5) for name in names}
    assert all(held[name] <= bounds[name] for name in held), f"held {held}, allowed {bounds}"
    return sum(bounds.values())


def _in_line(client: Any, lane: str, part: str) -> set[str]:
    """Return the groups in one part of a lane (`ready` or `resting`), both proven and unproven."""
    lines = (f"rt:{lane}:{part}", f"rt:{lane}:{part}:unproven")
    return {group for line in lines for group in client.zrange(line, 0, -1)}


def _assert_targets(client: Any) -> None:
    """
    Assert that deliveries wait only for targets that are shut or have a full window, and that the counts are right.
    """
    waiting = Counter[str]()
    admitted = {
        name.removeprefix("rt:deliveries:admitted:"): client.zrange(name, 0, -1)
        for name in client.scan_iter("rt:deliveries:admitted:*")
    }
    held_or_queued = {item for items in admitted.values() for item in items}
    assert set(client.zrange("rt:deliveries:slots", 0, -1)) <= held_or_queued
    for name in client.scan_iter("rt:deliveries:waiting:*"):
        target = name.removeprefix("rt:deliveries:waiting:")
        window = int(client.hget(f"rt:deliveries:target:{target}", "window") or 1)
        is_shut = client.zscore("rt:deliveries:shut", target) is not None
        assert is_shut or len(admitted.get(target, ())) >= window, f"{target}: waits, and {window} may be under way"
        waiting[target.partition(" ")[0]] += client.zcard(name)
    counted = {tenant: int(count) for tenant, count in client.hgetall("rt:deliveries:waiting_by_tenant").items()}
    assert counted == dict(waiting)


def assert_no_idle_slot(client: Any, lane: str) -> None:
    """Assert that no slot is free while work waits that may use it; this holds after every sweep."""
    limit = int(client.hget(f"rt:{lane}:gate", "limit") or {"edits": 5, "deliveries": 16}[lane])
    waiting = [group for group in _in_line(client, lane, "ready") if client.exists(f"rt:{lane}:backlog:{group}")]
    if int(client.hget(f"rt:{lane}:held", "~") or 0) >= max(1, limit // 2):
        waiting = [group for group in waiting if group[0] != "~"]
    assert not waiting or client.zcard(f"rt:{lane}:slots") >= limit, f"{lane}: a slot is free and {waiting} wait"


def _assert_in_one_place(client: Any, lane: str, item: str) -> None:
    with client.pipeline(transaction=False) as pipe:
        pipe.hgetall(f"rt:{lane}:state:{item}").get(f"rt:{lane}:spec:{item}")
        pipe.zscore(f"rt:{lane}:slots", item).zscore(f"rt:{lane}:timetable", item)
        pipe.ttl(f"rt:{lane}:state:{item}").ttl(f"rt:{lane}:spec:{item}")
        known, spec, slot, timetable, *lives = pipe.execute()
    group = known.get("group") or json.loads(spec)["tenant"]
    backlog = client.zscore(f"rt:{lane}:backlog:{group}", item)
    if backlog is None and lane == "deliveries":
        backlog = client.zscore(f"rt:deliveries:waiting:{known['target']}", item)
    state = known.get("state", "queued")
    places = [
        name for name, score in (("backlog", backlog), ("slot", slot), ("timetable", timetable)) if score is not None
    ]
    right = {"queued": ["backlog", "slot"], "running": ["slot"], "polling": ["slot"], "retrying": ["timetable"]}
    if state in FINAL[lane]:
        assert places == [], f"{item} is {state} and still in {places}"
        assert min(lives) > 0, f"{item} is {state} and has no end"
    else:
        assert len(places) == 1, f"{item} is {state} and in {places}"
        assert places[0] in right[state], f"{item} is {state} and in {places}"
        assert max(lives) < 0, f"{item} is {state} and will vanish"
