"""
Steps for tests of several accounts: POST a job, refuse it, let it succeed, close an account, and read a job's account.
"""

from __future__ import annotations

from typing import Any

from retouch.outcomes import AccountRefused, Busy, Outcome, Processing, Ready, Stored
from retouch.policy import RetryPolicy, decide
from retouch.store.accounts import AccountStore
from retouch.store.jobs import NewJob
from retouch.store.records import Claim
from retouch.store.scripts import Message
from tests.lane_kit import IMAGE, LaneKit

READY = Ready(("https://out.example/a.png",), "7")
ASKED = Processing("7", "https://endpoint.example/fetch/7", 1.0)
FULL = Busy("queue_full", "its queue is full", 5.0)
POLICY = RetryPolicy(backoff_base_s=1.0)


def accounts_of(kit: LaneKit, *jobs: str) -> list[str]:
    """Return the accounts of these jobs, in order. Without jobs, return the account of each job that holds a slot."""
    return [record.account for record in kit.jobs.records(jobs or kit.dispatched())]


def reason(kit: LaneKit, job: str) -> str:
    record = kit.jobs.record(job)
    assert record is not None
    return record.account_reason


def several(kit: LaneKit, count: int, tenant: str = "acme") -> list[NewJob]:
    jobs = [kit.new(tenant) for _ in range(count)]
    kit.enqueue(*jobs)
    return jobs


def post(kit: LaneKit, job: str) -> Claim:
    """Claim a job and write its intent; return the claim."""
    claim = kit.claim(job)
    assert kit.jobs.intend(claim) == "ok"
    return claim


def settle(kit: LaneKit, claim: Claim, outcome: Outcome) -> list[Message]:
    """Settle a claim with the decision for this outcome, and return the messages."""
    return kit.jobs.settle(claim, decide(outcome, claim.attempt(), POLICY, claim.now_at, 0.5))


def refuse(kit: LaneKit, claim: Claim, outcome: Outcome, health: str) -> list[Message]:
    """
    Record that the endpoint refused a POST and charged nothing, settle the claim with this outcome, return the
    messages.
    """
    kit.jobs.answer(claim, "refused", None, health)
    return settle(kit, claim, outcome)


def succeed(kit: LaneKit, claim: Claim) -> list[Message]:
    kit.jobs.answer(claim, "succeeded", READY, "ok")
    return settle(kit, claim, Stored(IMAGE))


def succeeded_elsewhere(kit: LaneKit, store: AccountStore, account: str) -> Claim:
    """Let a job lose its POST at this account, which is drained, and succeed at another one. Return the first claim."""
    (job,) = several(kit, 1)
    frozen = post(kit, job.id)
    store.drain(account)
    kit.make_due("edits", "slots")
    kit.rescue()
    kit.make_due("edits", "slots")
    kit.rescue()
    succeed(kit, post(kit, job.id))
    return frozen


def events_of_accounts(client: Any) -> list[tuple[str, str]]:
    entries = client.xrange("rt:feed")
    return [(fields["type"], fields["account"]) for _, fields in entries if "account" in fields]


def close(kit: LaneKit, job: str, code: str = "bad_key") -> list[Message]:
    return refuse(kit, post(kit, job), AccountRefused(code, "no"), f"closed {code}")
