"""
Random steps on the lanes: workers stall or die, messages are lost, doubled or late, and jobs are cancelled, replayed
and rescued. Scripts and Redis are real, and only the test moves the clock.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from retouch.outcomes import (
    AccountRefused,
    Busy,
    CancelledFirst,
    Failed,
    GateClosed,
    GenerationLost,
    ImageUnavailable,
    NotStarted,
    Outcome,
    Processing,
    Ready,
    Refused,
    Stale,
    Stored,
    Unknown,
)
from retouch.policy import GATES, RetryPolicy, decide
from retouch.store.deliveries import DeliveryClaim
from retouch.store.records import Claim
from retouch.store.scripts import Message
from retouch_worker.deliveries.schedule import DeliveryOutcome, settlement_of
from retouch_worker.edits.classification import charge_kind
from retouch_worker.edits.resume import resume
from tests.lane_kit import FINAL, IMAGE, LaneKit, assert_consistent, assert_no_idle_slot

NO_FILTER_S = -1.0
LEASE_S = WAIT_S = 1_800.0
POLICY = RetryPolicy(max_attempts=4, max_charges=2)
ASKED = Processing("7", "https://endpoint.example/fetch/7", 1.0)
READY = Ready(("https://out.example/a.png",), "7")
NO_POST: dict[str, Outcome] = {
    "stale": Stale(),
    "cancelled": CancelledFirst(),
    **{gate: GateClosed(gate) for gate in GATES},
}
HEALTH = {Ready: "ok", Processing: "ok", Busy: "full", Unknown: "down", AccountRefused: "closed bad_key"}

MODEL_SETTINGS = settings(
    max_examples=int(os.environ.get("LANE_EXAMPLES", "25")),
    stateful_step_count=50,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking through a real server would take minutes
    suppress_health_check=list(HealthCheck),
)

answers = st.sampled_from(
    [READY, READY, ASKED, Refused("bad_key", "no"), Busy("queue_full", "full", 1.0), Failed("failed"), Unknown("lost")]
)
polls = st.sampled_from([READY, READY, ASKED, Failed("failed", seen_by_poll=True), GenerationLost("gone")])
downloads = st.sampled_from([Stored(IMAGE), Stored(IMAGE), Stored(IMAGE), ImageUnavailable("404")])
pick = st.integers(0, 10_000)

Move = TypeVar("Move")


def by_hand(move: Move) -> Move:
    """Return the move with its delay, if it has one, replaced by WAIT_S. Only the test then makes the move due."""
    return replace(move, delay_s=WAIT_S) if getattr(move, "delay_s", 0.0) else move  # type: ignore[type-var]  # those with a delay are dataclasses


@dataclass
class Worker:
    """One attempt and its next step. Between any two steps, the worker may stall and continue much later."""

    claim: Claim
    step: str = "begin"
    outcome: Outcome = field(default_factory=NotStarted)


@dataclass
class Truth:
    """The POSTs of one job, and how many of these POSTs may have been charged."""

    max_charges: int
    posts: int = 0
    maybe_billed: int = 0
    replays: int = 0


class Lane(RuleBasedStateMachine):
    """A state machine in which workers, clients and rescue move the jobs of a real store."""

    client: Any = None

    @initialize(
        limit=st.integers(1, 3), tenant_limit=st.integers(1, 2), learns=st.booleans(), threads=st.integers(1, 6)
    )
    def open(self, limit: int, tenant_limit: int, learns: bool, threads: int) -> None:
        self.client.flushdb()
        self.kit = LaneKit(self.client)
        self.kit.open("auto" if learns else limit, 0.0)
        self.kit.lanes.set_group("edits", "small", limit=tenant_limit)
        self.kit.lanes.set_group("edits", "heavy", weight=3.0)
        self.kit.receivers.add("acme", "https://hooks.example/acme")
        self.kit.receivers.add("acme", "https://other.example/acme")
        self.kit.receivers.add("small", "https://hooks.example/small")
        self.kit.lanes.heartbeat(LEASE_S, [], "model:1", threads)
        self.truths: dict[str, Truth] = {}
        self.workers: list[Worker] = []
        self.senders: list[DeliveryClaim] = []
        self.messages: list[Message] = []
        self.paused = False

    def jobs(self) -> list[str]:
        return list(self.truths)

    # Producers

    @rule(
        tenant=st.sampled_from(["acme", "small", "heavy"]),
        priority=st.sampled_from(["high", "normal", "low"]),
        count=st.integers(1, 3),
        max_charges=st.integers(1, 2),
    )
    def enqueue(self, tenant: str, priority: str, count: int, max_charges: int) -> None:
        new = [self.kit.new(tenant, priority, policy={"max_charges": max_charges}) for _ in range(count)]
        self.truths |= {job.id: Truth(max_charges) for job in new}
        self.messages += self.kit.enqueue(*new)
        self.messages += self.kit.enqueue(*new)  # the reply was lost, and redis-py sent the script again

    @precondition(lambda self: self.truths)
    @rule(at=pick)
    def cancel(self, at: int) -> None:
        self.messages += self.kit.jobs.cancel(self.jobs()[at % len(self.truths)])[1]

    @precondition(lambda self: self.truths)
    @rule(at=pick)
    def replay(self, at: int) -> None:
        job = self.jobs()[at % len(self.truths)]
        word, messages = self.kit.jobs.replay(job)
        self.truths[job].replays += word == "replayed"
        self.messages += messages

    # The broker

    @precondition(lambda self: self.messages)
    @rule(at=pick, copies=st.sampled_from([0, 1, 1, 1, 2]))
    def deliver_message(self, at: int, copies: int) -> None:
        lane, item = self.messages.pop(at % len(self.messages))
        for _ in range(copies):
            self.receive(lane, item)

    def receive(self, lane: str, item: str) -> None:
        if lane != "deliveries" and (claim := self.kit.jobs.claim(item, LEASE_S)):
            self.workers.append(Worker(claim))
        elif lane == "deliveries" and (sender := self.kit.deliveries.claim(item, LEASE_S)):
            self.senders.append(sender)

    # Workers

    @precondition(lambda self: self.workers)
    @rule(at=pick, answer=answers, poll=polls, download=downloads)
    def step(self, at: int, answer: Outcome, poll: Outcome, download: Outcome) -> None:
        worker = self.workers[at % len(self.workers)]
        self.advance(worker, answer, poll, download)
        if worker.step == "over":
            self.workers.remove(worker)

    def advance(self, worker: Worker, answer: Any, poll: Any, download: Outcome) -> None:
        """Take the next step of an attempt with the given outcome for a POST, a poll or a download."""
        claim, policy = worker.claim, worker.claim.spec.retry_policy(POLICY)
        if worker.step == "begin":
            worker.outcome = resume(claim, policy, NO_FILTER_S)
            worker.step = {NotStarted: "intend", Processing: "poll", Ready: "keep"}.get(type(worker.outcome), "settle")
            if worker.step == "intend":
                word = self.kit.jobs.intend(claim)
                worker.step = "post" if word == "ok" else "settle"
                worker.outcome = NO_POST.get(str(word), worker.outcome)
                if not isinstance(word, str):
                    worker.outcome, worker.step = word, "poll" if isinstance(word, Processing) else "keep"
        elif worker.step == "post":
            truth, kind = self.truths[claim.job], charge_kind(answer)
            truth.posts += 1
            truth.maybe_billed += kind not in ("refused", "failed")
            worker.outcome, worker.step = answer, "answer"
        elif worker.step == "answer":
            checkpoint = worker.outcome if isinstance(worker.outcome, Ready | Processing) else None
            kind = charge_kind(worker.outcome)  # type: ignore[arg-type]  # `answers` has outcomes of a POST alone
            health = HEALTH.get(type(worker.outcome), "alive")
            self.messages += self.kit.jobs.answer(claim, kind, checkpoint, health)[0]
            worker.step = "keep" if isinstance(worker.outcome, Ready) else "settle"
        elif worker.step == "poll":
            worker.outcome = poll
            if isinstance(poll, Ready):
                self.messages += self.kit.jobs.answer(claim, "succeeded", poll)[0]
            elif not isinstance(poll, Processing):
                kind = "failed" if isinstance(poll, Failed) else "processing"
                self.messages += self.kit.jobs.answer(claim, kind, None)[0]
            worker.step = "keep" if isinstance(poll, Ready) else "settle"
        elif worker.step == "keep":
            worker.outcome, worker.step = download, "settle"
        else:
            decision = decide(worker.outcome, claim.attempt(), policy, claim.now_at, 0.5)
            self.messages += self.kit.jobs.settle(claim, by_hand(decision))
            worker.step = "over"

    @precondition(lambda self: self.workers)
    @rule(at=pick)
    def die(self, at: int) -> None:
        self.workers.pop(at % len(self.workers))

    @precondition(lambda self: self.workers)
    @rule()
    def beat(self) -> None:
        leases = [("edits", worker.claim.job, worker.claim.fence) for worker in self.workers]
        lost = self.kit.lanes.heartbeat(LEASE_S, leases)
        assert set(lost) <= {worker.claim.job for worker in self.workers}

    @precondition(lambda self: self.senders)
    @rule(at=pick, status=st.sampled_from([204, 204, 500, 410, None]), elapsed_s=st.sampled_from([0.1, 0.1, 15.0]))
    def deliver(self, at: int, status: int | None, elapsed_s: float) -> None:
        claim = self.senders.pop(at % len(self.senders))
        settlement = settlement_of(DeliveryOutcome(status, elapsed_s=elapsed_s), claim.number, claim.by_hand, 0.0, 0.5)
        self.messages += self.kit.deliveries.settle(claim, by_hand(settlement))

    # Time and rescue

    @rule(
        lane=st.sampled_from(["edits", "deliveries"]),
        part=st.sampled_from(["slots", "slots", "timetable", "shut"]),
        at=pick,
    )
    def time_passes_for_one(self, lane: str, part: str, at: int) -> None:
        items = sorted(self.client.zrange(f"rt:{lane}:{part}", 0, -1))
        if items:
            self.kit.make_due(lane, part, items[at % len(items)])
        self.sweep()

    def sweep(self) -> None:
        self.messages += self.kit.rescue()
        if not (self.paused or self.client.hmget("rt:edits:gate", "open_until", "accounts") != [None, None]):
            assert_no_idle_slot(self.client, "edits")
        assert_no_idle_slot(self.client, "deliveries")

    @precondition(lambda self: self.truths)
    @rule(at=pick)
    def deadline_passes(self, at: int) -> None:
        bucket = int(self.client.hget("rt:edits:gate", "deadlines_swept"))
        self.client.rpush(f"rt:edits:deadlines:{bucket}", self.jobs()[at % len(self.truths)])
        self.client.hset("rt:edits:gate", "deadlines_swept", bucket - 1)
        self.sweep()

    @rule(paused=st.booleans())
    def pause_or_resume(self, paused: bool) -> None:
        self.paused = paused
        (self.kit.lanes.pause if paused else self.kit.lanes.resume)("edits")
        self.sweep()

    # What must hold

    @invariant()
    def everything_has_one_place(self) -> None:
        if hasattr(self, "kit"):
            assert_consistent(self.client, self.jobs())

    @invariant()
    def nothing_is_paid_more_often_than_allowed(self) -> None:
        for job, truth in getattr(self, "truths", {}).items():
            allowed = truth.max_charges * (1 + truth.replays)
            assert truth.maybe_billed <= allowed, f"{job}: {truth}"

    @invariant()
    def a_paid_answer_on_record_is_not_given_up(self) -> None:
        for record in self.kit.jobs.records(self.jobs()) if hasattr(self, "kit") else ():
            if record.state == "failed" and record.error and record.resumable:
                assert record.error.code in ("deadline_passed", "worker_lost"), f"{record.id}: {record.error}"

    def teardown(self) -> None:
        """Let faultless workers run. Assert that every job ends, and that no delivery was made twice."""
        if not hasattr(self, "kit"):
            return
        self.kit.lanes.resume()
        for _ in range(60):
            if self.is_over():
                break
            self.round_of_good_workers()
        assert self.is_over(), "something never ends"
        assert_consistent(self.client, self.jobs())
        counts = Counter((record.job, record.sequence, record.receiver) for record in self.all_deliveries())
        assert all(count == 1 for count in counts.values())

    def all_deliveries(self) -> list[Any]:
        return self.kit.deliveries.records(list(self.kit.deliveries.ids()))

    def is_over(self) -> bool:
        deliveries_over = all(record.state in FINAL["deliveries"] for record in self.all_deliveries())
        return deliveries_over and all(self.kit.state(job) in FINAL["edits"] for job in self.truths)

    def round_of_good_workers(self) -> None:
        self.workers.clear()
        self.senders.clear()
        if self.client.hexists("rt:edits:gate", "open_until"):
            self.client.hset("rt:edits:gate", "open_until", 1)
        for lane in ("edits", "deliveries"):
            for part in ("slots", "timetable", "shut"):
                self.kit.make_due(lane, part)
        self.messages = self.kit.rescue()
        while self.messages:
            self.receive(*self.messages.pop())
            for worker in self.workers:
                while worker.step != "over":
                    self.advance(worker, READY, READY, Stored(IMAGE))
            self.workers.clear()
            self.deliver_all()

    def deliver_all(self) -> None:
        for claim in self.senders:
            settlement = settlement_of(DeliveryOutcome(204), claim.number, claim.by_hand, 0.0, 0.5)
            self.messages += self.kit.deliveries.settle(claim, settlement)
        self.senders.clear()


def assert_model_holds(model: type[Lane], client: Any) -> None:
    """Run the state machine `model` on the server of `client`. The invariants are asserted after each step."""
    run_state_machine_as_test(type("OnThisServer", (model,), {"client": client}), settings=MODEL_SETTINGS)
    assert client.ping()


def test_every_interleaving_holds_together_and_ends(client: Any) -> None:
    """No sequence of crashes, stalls, lost and doubled messages breaks an invariant, and every job ends."""
    assert_model_holds(Lane, client)
