"""One attempt at a job: claim it, take it as far as it goes, settle it. `run_edit` is the function to read first."""

from __future__ import annotations

import random
import time

from retouch.outcomes import (
    CancelledFirst,
    Decision,
    Failed,
    GateClosed,
    NotStarted,
    Outcome,
    Processing,
    Ready,
    Refused,
    Stale,
)
from retouch.policy import GATES, decide
from retouch.store.records import Claim
from retouch_worker.edits.classification import charge_kind
from retouch_worker.edits.context import EditTools
from retouch_worker.edits.images import store_images
from retouch_worker.edits.input_url import apply_input_fallback, request_spec
from retouch_worker.edits.resume import resume
from retouch_worker.logs import log


def run_edit(job: str, tools: EditTools) -> Decision | None:
    """
    Run one attempt at a job, starting from where its record stands; return the decision, None if there was no claim.

    Failure policy: each step that costs money, or yields something that was paid for, is on record before the next step
    begins. So this process may die between any two instructions: the next attempt resumes from the record. A message
    for a job that another worker holds, or that is over, does nothing.
    """
    claim = tools.jobs.claim(job, tools.settings.lease_s)
    if claim is None:
        return None
    started_at = time.monotonic()
    policy = claim.spec.retry_policy(tools.policy)
    with tools.pulse.keeping(claim):
        outcome = resume(claim, policy, tools.settings.spam_filter_s)
        if isinstance(outcome, NotStarted):
            outcome = post_edit(claim, tools)
        elif isinstance(outcome, Processing):
            outcome = poll(claim, outcome, tools)
        if isinstance(outcome, Ready):
            outcome = store_images(claim, outcome, tools)
        # The deadline is an instant of the store's clock, and this machine's clock may differ from it.
        now_at = claim.now_at + time.monotonic() - started_at
        decision = decide(outcome, claim.attempt(), policy, now_at, random.random())
        messages = tools.jobs.settle(claim, decision)
    tools.publisher.publish(messages)
    log_attempt(claim, outcome, decision, took_s=time.monotonic() - started_at)
    return decision


def post_edit(claim: Claim, tools: EditTools) -> Outcome:
    """POST the edit: the intent goes on record before the POST, and the answer's class after it."""
    endpoint = tools.endpoints.of(claim.account)
    if endpoint is None:
        return GateClosed("account_not_held")
    spec = request_spec(claim, tools.blobs, tools.settings)
    match tools.jobs.intend(claim):
        case "stale":
            return Stale()
        case "cancelled":
            return CancelledFirst()
        case str(gate) if gate in GATES:
            return GateClosed(gate)
        case Processing() | Ready() as late_answer:
            return late_answer  # an earlier POST was paid for after all: its answer is followed, nothing is POSTed
    answer, health = endpoint.post_edit(spec)
    outcome = apply_input_fallback(answer, claim, tools.blobs, tools.settings)
    checkpoint = outcome if isinstance(outcome, Ready | Processing) else None
    read_copy = isinstance(outcome, Refused) and outcome.retry_with_copy
    record_answer(claim, charge_kind(outcome), checkpoint, tools, health, read_copy=read_copy)
    return outcome


def poll(claim: Claim, checkpoint: Processing, tools: EditTools) -> Outcome:
    """Ask the endpoint about a request that it is working on; a final answer goes on record."""
    endpoint = tools.endpoints.of(claim.account)
    if endpoint is None:
        return checkpoint  # a worker that holds the key asks again
    age_s = claim.now_at - claim.charge_in_work.intent_at
    outcome = endpoint.poll(checkpoint, request_spec(claim, tools.blobs, tools.settings), age_s)
    if isinstance(outcome, Ready):
        record_answer(claim, "succeeded", outcome, tools)
    elif not isinstance(outcome, Processing):
        record_answer(claim, charge_kind_after_poll(outcome), None, tools)
    return outcome


def record_answer(
    claim: Claim,
    kind: str,
    checkpoint: Ready | Processing | None,
    tools: EditTools,
    health: str = "",
    *,
    read_copy: bool = False,
) -> None:
    """Put an answer on record: the class of its charge, the checkpoint to resume from, and the endpoint's health."""
    messages, open_s = tools.jobs.answer(claim, kind, checkpoint, health, read_copy=read_copy)
    tools.publisher.publish(messages)
    if open_s:
        log.warning("breaker_opened", open_s=open_s, job=claim.job)


def charge_kind_after_poll(outcome: Outcome) -> str:
    """Return the class of a charge after a poll: `failed` is not charged, a lost generation had been accepted."""
    return "failed" if isinstance(outcome, Failed) else "processing"


def log_attempt(claim: Claim, outcome: Outcome, decision: Decision, *, took_s: float) -> None:
    """Log how an attempt ended: what it saw and what follows, by the names of their classes."""
    log.info(
        "attempt_ended",
        job=claim.job,
        attempt=claim.number,
        outcome=type(outcome).__name__,
        decision=type(decision).__name__,
        charges=claim.possible_charges,
        took_s=round(took_s, 3),
    )
