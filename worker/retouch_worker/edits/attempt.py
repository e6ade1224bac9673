"""One attempt at a job: claim it, take it as far as it will go, settle it. `run_edit` is the function to read first."""

from __future__ import annotations

import random
import time

from retouch.outcomes import (
    CancelledFirst,
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
from retouch_worker.edits.images import store_image
from retouch_worker.edits.input_url import apply_input_fallback, request_spec
from retouch_worker.edits.resume import resume
from retouch_worker.logs import log


def run_edit(job: str, tools: EditTools) -> None:
    """
    Run one attempt at a job, from wherever its record says that it stands.

    Failure policy: each step that costs money or yields something paid is on record before the next begins, so this
    may die between any two instructions. A message for a job that somebody holds, or that is over, does nothing.
    """
    claim = tools.jobs.claim(job, tools.settings.lease_s)
    if claim is None:
        return
    started = time.monotonic()
    policy = claim.spec.retry_policy(tools.policy)
    with tools.pulse.keeping(claim):
        outcome = resume(claim, policy, tools.settings.spam_filter_s)
        if isinstance(outcome, NotStarted):
            outcome = post_edit(claim, tools)
        elif isinstance(outcome, Processing):
            outcome = poll(claim, outcome, tools)
        if isinstance(outcome, Ready):
            outcome = store_image(claim, outcome, tools)
        now = claim.now_at + time.monotonic() - started
        decision = decide(outcome, claim.attempt(), policy, now, random.random())
        messages = tools.jobs.settle(claim, decision)
    tools.publisher.publish(messages)
    log.info("attempt_ended", job=job, attempt=claim.number, outcome=_name(outcome), decision=_name(decision),
             charges=claim.possible_charges, took_s=round(time.monotonic() - started, 3))  # fmt: skip


def post_edit(claim: Claim, tools: EditTools) -> Outcome:
    """Ask for the edit: the intent goes on record, then the POST goes out, then its answer goes on record."""
    endpoint = tools.endpoints.of(claim.account)
    if endpoint is None:
        return GateClosed("account_not_held")
    asked = request_spec(claim, tools.blobs, tools.settings)
    word = tools.jobs.intend(claim)
    if word == "stale":
        return Stale()
    if word == "cancelled":
        return CancelledFirst()
    if word in GATES:
        return GateClosed(str(word))
    if not isinstance(word, str):
        return word
    answered, health = endpoint.post_edit(asked)
    outcome = apply_input_fallback(answered, claim, tools.blobs, tools.settings)
    checkpoint = outcome if isinstance(outcome, Ready | Processing) else None
    read_copy = isinstance(outcome, Refused) and outcome.retry_with_copy
    record(claim, charge_kind(outcome), checkpoint, tools, health, read_copy=read_copy)
    return outcome


def poll(claim: Claim, asked: Processing, tools: EditTools) -> Outcome:
    """Look at a job that the endpoint has in work; what it says at last goes on record."""
    endpoint = tools.endpoints.of(claim.account)
    if endpoint is None:
        return asked  # to be looked at again, by a worker that holds the key
    age_s = claim.now_at - claim.charge_in_work.intent_at
    outcome = endpoint.poll(asked, request_spec(claim, tools.blobs, tools.settings), age_s)
    if isinstance(outcome, Ready):
        record(claim, "succeeded", outcome, tools)
    elif not isinstance(outcome, Processing):
        record(claim, charge_kind_after_poll(outcome), None, tools)
    return outcome


def record(
    claim: Claim, kind: str, checkpoint: Ready | Processing | None, tools: EditTools, health: str = "", *,
    read_copy: bool = False,
) -> None:  # fmt: skip
    """Put an answer on record: the class of the charge, what to resume from, and what it tells of the endpoint."""
    messages, open_s = tools.jobs.answer(claim, kind, checkpoint, health, read_copy=read_copy)
    tools.publisher.publish(messages)
    if open_s:
        log.warning("breaker_opened", open_s=open_s, job=claim.job)


def charge_kind_after_poll(outcome: Outcome) -> str:
    """A generation that failed is treated as not charged; one that was lost had been taken, so it counts."""
    return "failed" if _name(outcome) == "Failed" else "processing"


def _name(value: object) -> str:
    return type(value).__name__
