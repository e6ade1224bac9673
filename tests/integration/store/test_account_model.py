"""
The steps of test_lane_model.py with several accounts. Further random steps pause, drain, close and test accounts, and
let their workers leave.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from retouch.outcomes import AccountRefused, Outcome, Processing
from retouch.publisher import queue_of
from retouch.store.accounts import AccountStore
from retouch.store.keys import account_gate
from tests.integration.store.test_lane_model import LEASE_S, READY, Lane, Worker, assert_model_holds, pick
from tests.lane_kit import account

NAMES = ("default", "own", "shared", "spare")
names = st.sampled_from(NAMES)


class Accounts(Lane):
    """
    The steps of test_lane_model.py with four accounts. One account belongs to a tenant, and one account has tier 2.
    """

    @initialize(
        limit=st.integers(1, 3), tenant_limit=st.integers(1, 2), learns=st.booleans(), threads=st.integers(1, 6)
    )
    def open(self, limit: int, tenant_limit: int, learns: bool, threads: int) -> None:
        super().open(limit, tenant_limit, learns, threads)
        fallback: Any = ("never", "free_only", "always")[tenant_limit - 1 + learns]
        self.kit.open_accounts(
            account("default", limit),
            account("own", "auto" if learns else 2, tenants=("small",), shared_fallback=fallback),
            account("shared", 1, weight=2.0),
            account("spare", 2, tier=2, calls_per_day=50),
        )
        self.never = fallback == "never"
        self.store = AccountStore(self.client)

    def receive(self, lane: str, item: str) -> None:
        """
        Let a worker receive a message. A worker of edits has the key of one account, and receives messages of this
        account only.
        """
        if lane == "deliveries":
            super().receive(lane, item)
            return
        (held,) = [name for name in NAMES if queue_of(name) == lane]
        if claim := self.kit.jobs.claim(item, LEASE_S, [held]):
            assert claim.account == held
            assert not (self.never and claim.spec.tenant == "small") or held == "own" or claim.checkpoint
            if isinstance(claim.checkpoint, Processing):
                assert claim.charge_in_work.account == held, "a poll goes to who created the request"
            self.workers.append(Worker(claim))

    @precondition(lambda self: any(worker.step == "post" for worker in self.workers))
    @rule(at=pick)
    def refuse_key(self, at: int) -> None:
        """
        Let the endpoint refuse the key of an account in a POST: the account closes, and the job moves to another
        account.
        """
        posting = [worker for worker in self.workers if worker.step == "post"]
        refused: Outcome = AccountRefused("bad_key", "no")
        self.advance(posting[at % len(posting)], refused, READY, refused)

    @rule(name=names, mode=st.sampled_from(["pause", "drain", "resume", "test", "leave", "serve"]))
    def operate(self, name: str, mode: str) -> None:
        """Pause, drain, resume or test an account, or let its workers leave and return."""
        if mode == "leave":
            self.client.hset(account_gate(name), "served_until", 1)
        elif mode == "serve":
            self.kit.serve(name)
        else:
            getattr(self.store, mode)(name)
        self.sweep()

    def round_of_good_workers(self) -> None:
        """
        Open and serve all accounts, and let each job use any account again. Then let faultless workers run all jobs.
        """
        for name in NAMES:
            self.client.hdel(account_gate(name), "mode", "closed", "probing", "down", "open_until", "follower_until")
        self.kit.serve(*NAMES)
        for job in self.jobs():
            self.client.hdel(f"rt:edits:state:{job}", "avoid", "avoid_until")
        super().round_of_good_workers()


def test_every_interleaving_with_several_accounts_holds_together_and_ends(client: Any) -> None:
    """No sequence of pauses, closings and lost workers exceeds a limit, polls the wrong account, or loses a job."""
    assert_model_holds(Accounts, client)
