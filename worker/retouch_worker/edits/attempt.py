"""One attempt at a job: claim it, take it as far as possible, settle it. Read `run_edit` first."""

from __future__ import annotations

import random
import time

from retouch.outcomes import (
    AccountRefused,
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
from retouch.store.answers import RawAnswer
from retouch.store.audit import Actor
from retouch.store.records import Claim
from retouch_worker.edits.classification import charge_kind
from retouch_worker.edits.context import EditDependencies
from retouch_worker.edits.images import store_images
from retouch_worker.edits.input_url import apply_input_fallback, request_spec
from retouch_worker.edits.resume import resume
from retouch_worker.logs import log


def run_edit(job: str, dependencies: EditDependencies) -> Decision | None:
    """
    Run one attempt at a job, from the step that the job's record shows. Return the decision, or None if the job cannot
    be claimed.

    Failure policy: each step that costs money, or that yields a paid result, is on record before the next step begins.
    If this process dies at any instruction, the next attempt resumes from the record. A message does nothing if the job
    is over or if another worker holds it.
    """
    claim = _claim(job, dependencies)
    if claim is None:
        return None
    dependencies.publisher.publish(claim.messages)
    started_at = time.monotonic()
    policy = claim.spec.retry_policy(dependencies.policy)
    with dependencies.pulse.renewing(claim), dependencies.tracing.attempt(claim) as span:
        outcome = resume(claim, policy, dependencies.settings.spam_filter_s)
        if isinstance(outcome, NotStarted):
            outcome = post_edit(claim, dependencies)
        elif isinstance(outcome, Processing):
            outcome = poll(claim, outcome, dependencies)
        if isinstance(outcome, Ready):
            outcome = store_images(claim, outcome, dependencies)
        # The deadline is an instant of the store's clock, and this machine's clock may differ from it.
        now_at = claim.now_at + time.monotonic() - started_at
        decision = decide(outcome, claim.attempt(), policy, now_at, random.random())
        messages = dependencies.jobs.settle(claim, decision)
        span.decided(outcome, decision)
    dependencies.publisher.publish(messages)
    log_attempt(claim, outcome, decision, took_s=time.monotonic() - started_at)
    return decision


def _claim(job: str, dependencies: EditDependencies) -> Claim | None:
    """Claim a job for this process, unless it is of an account whose key this process does not hold."""
    lease_s, accounts = dependencies.settings.lease_s, dependencies.endpoints.claimable
    return dependencies.jobs.claim(job, lease_s, accounts, dependencies.pulse.worker)


def post_edit(claim: Claim, dependencies: EditDependencies) -> Outcome:
    """
    POST the edit and return the outcome. The intent goes on record before the POST. The class of the answer goes on
    record after the POST.

    If the store or the account does not allow the POST, nothing is sent, and the outcome says why. If an earlier POST
    has a late answer, nothing is sent, and the outcome is this answer.
    """
    endpoint = dependencies.endpoints.for_new_post(claim.account)
    if endpoint is None:
        return GateClosed("account_not_held")
    spec = request_spec(claim, dependencies.blobs, dependencies.settings)
    match dependencies.jobs.intend(claim):
        case "stale":
            return Stale()
        case "cancelled":
            return CancelledFirst()
        case str(gate) if gate in GATES:
            return GateClosed(gate)
        case Processing() | Ready() as late_answer:
            return late_answer  # an earlier POST turned out to be paid: its answer is used, and nothing is POSTed
    answer, health, raw = endpoint.post_edit(spec)
    if claim.may_move and isinstance(answer, Refused):
        answer, health = judge_refusal(answer, health, claim)
    outcome = apply_input_fallback(answer, claim, dependencies.blobs, dependencies.settings)
    checkpoint = outcome if isinstance(outcome, Ready | Processing) else None
    read_copy = isinstance(outcome, Refused) and outcome.retry_with_copy
    record_answer(claim, charge_kind(outcome), checkpoint, dependencies, health, read_copy=read_copy, raw=raw)
    return outcome


def judge_refusal(refused: Refused, health: str, claim: Claim) -> tuple[AccountRefused | Refused, str]:
    """
    Return the refusal and the health word for the breaker. If the whole account is refused, return an `AccountRefused`
    and a word that closes the account.

    Failure policy: if a second account also answers a job with 403, the cause is the job, so the second account stays
    open.
    """
    if not refused.of_account or (refused.code == "forbidden" and claim.is_forbidden):
        return refused, health
    return AccountRefused(refused.code, refused.message), f"closed {refused.code}"


def poll(claim: Claim, checkpoint: Processing, dependencies: EditDependencies) -> Outcome:
    """
    Poll the endpoint about a request that it is processing, and return the outcome. A final answer goes on record.
    """
    # Only the account that accepted a request can be polled about it, whatever account the job is on now.
    endpoint = dependencies.endpoints.of(claim.charge_in_work.account)
    if endpoint is None:
        return checkpoint  # a worker that holds the account's key polls next
    age_s = claim.now_at - claim.charge_in_work.intent_at
    outcome, raw = endpoint.poll(checkpoint, request_spec(claim, dependencies.blobs, dependencies.settings), age_s)
    if isinstance(outcome, Ready):
        record_answer(claim, "succeeded", outcome, dependencies, raw=raw)
    elif not isinstance(outcome, Processing):
        record_answer(claim, charge_kind_after_poll(outcome), None, dependencies, raw=raw)
    return outcome


def record_answer(
    claim: Claim,
    kind: str,
    checkpoint: Ready | Processing | None,
    dependencies: EditDependencies,
    health: str = "",
    *,
    read_copy: bool = False,
    raw: RawAnswer | None,
) -> None:
    """
    Put an answer on record, and send the messages of jobs that the script has dispatched.

    `kind` is the class of the charge, and the next attempt resumes at `checkpoint`. `health` is the word of
    `health_after` or `judge_refusal`. With `read_copy`, the next attempt sends the link to our copy of the input
    picture. `raw` is the endpoint's answer without keys, or None if there was no answer.
    """
    recorded = dependencies.jobs.answer(claim, kind, checkpoint, health, read_copy=read_copy, raw=raw)
    dependencies.publisher.publish(recorded.messages)
    if recorded.open_s:
        log.warning("breaker_opened", open_s=recorded.open_s, job=claim.job, account=claim.account)
    if recorded.event:
        note_account(claim, recorded.event, health.partition(" ")[2], dependencies)


def note_account(claim: Claim, event: str, code: str, dependencies: EditDependencies) -> None:
    """
    Write to the log and the audit that an answer closed an account (for the reason `code`) or opened it.

    Failure policy: the answer is on record already. If the audit cannot be written, the attempt is given up, and the
    next attempt resumes from the record.
    """
    if event == "account.closed":
        log.error("account_closed", account=claim.account, code=code, job=claim.job)
    else:
        log.info("account_opened", account=claim.account, job=claim.job)
    outcome = {"outcome": code} if code else {}
    dependencies.audit.record(Actor("worker", name=dependencies.pulse.worker), event, ids=[claim.account], **outcome)


def charge_kind_after_poll(outcome: Outcome) -> str:
    """
    Return the class of a charge after a poll whose answer ended the request.

    A failed generation has the class `failed`, which is not charged. A lost generation has the class `processing`,
    which counts as charged, since the endpoint had accepted the request.
    """
    return "failed" if isinstance(outcome, Failed) else "processing"


def log_attempt(claim: Claim, outcome: Outcome, decision: Decision, *, took_s: float) -> None:
    """Log how an attempt ended: the class names of its outcome and its decision, and how long it took."""
    log.info(
        "attempt_ended",
        job=claim.job,
        attempt=claim.number,
        outcome=type(outcome).__name__,
        decision=type(decision).__name__,
        charges=claim.possible_charges,
        took_s=round(took_s, 3),
    )
