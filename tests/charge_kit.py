"""Steps for tests of charges: enqueue, POST and settle jobs, and read their charges from the ledger."""

from __future__ import annotations

from typing import Any

from retouch.outcomes import Decision, Fail, Ready, Retry
from retouch.store.ledger import Ledger
from retouch.store.records import Claim
from tests.lane_kit import LaneKit

READY = Ready(("https://out.example/a.png",), "7")
AGAIN, GIVE_UP = Retry(0.0, "endpoint_failed", "again"), Fail("endpoint_failed", "enough", retryable=True)


def one_job(kit: LaneKit, tenant: str = "acme", **spec: Any) -> str:
    new = kit.new(tenant, **spec)
    kit.enqueue(new)
    return new.id


def posted(kit: LaneKit, job: str) -> Claim:
    """Claim a job and write its intent, after which a charge is possible; return the claim."""
    claim = kit.claim(job)
    assert kit.jobs.intend(claim) == "ok"
    return claim


def called_again(kit: LaneKit) -> list[str]:
    """End every wait and every lease of edits, and run a rescue. Return the ids of the jobs in the new messages."""
    kit.make_due("edits", "timetable")
    kit.make_due("edits", "slots")
    return [item for _, item in kit.rescue()]


def tried(kit: LaneKit, job: str, kind: str, decision: Decision) -> Claim:
    """
    Run an attempt: the POST, the answer and the decision. Return the claim.

    `kind` is the class of the answer, or empty for no answer.
    """
    claim = posted(kit, job)
    if kind:
        kit.jobs.answer(claim, kind, READY if kind == "succeeded" else None)
    kit.jobs.settle(claim, decision)
    return claim


def split(ledger: Ledger, **narrowed: Any) -> dict[str, int]:
    """Return {use: count} from the only row of the ledger, without counts of 0. Return {} if the ledger has no row."""
    rows = ledger.usage(**narrowed)
    assert len(rows) <= 1
    kinds = ("useful", "repeated", "wasted", "unknown", "reserved")
    return {kind: getattr(row, kind) for row in rows for kind in kinds if getattr(row, kind)}
