"""Which refusals close an account, and which outcomes move a job to another account."""

from __future__ import annotations

import json

import pytest

from retouch.egress.http import Answer
from retouch.outcomes import AccountRefused, Busy, Fail, GateClosed, Outcome, Refused, Retry, Unknown
from retouch.policy import Attempt, RetryPolicy, decide
from retouch_worker.edits.classification import classify, is_of_account

EDIT = {"prompt": "make it winter", "init_image": "https://a.example/in.png"}


def answer(status: int, message: str) -> Answer:
    return Answer(status, {}, json.dumps({"status": "error", "message": message}).encode(), 0.1)


@pytest.mark.parametrize(
    ("status", "message", "prompt", "closes"),
    [
        (401, "no", "winter", True),
        (402, "no", "winter", True),
        (403, "no", "winter", True),
        (200, "Invalid API key", "winter", True),
        (200, "Insufficient credits", "winter", True),
        (200, "not allowed: 'Invalid API key'", "draw the words Invalid API key", False),
        (200, "not allowed: out of credits", "a man OUT OF CREDITS", False),
        (404, "model not found", "winter", False),
        (422, "no", "winter", False),
    ],
)
def test_what_closes_an_account(status: int, message: str, prompt: str, closes: bool) -> None:
    """
    The status 401, 402 or 403 closes an account, and so does a known message. A message that may repeat the prompt does
    not.
    """
    said = answer(status, message)
    refused = classify(said, "https://a.example/fetch")
    assert isinstance(refused, Refused)
    assert is_of_account(said, refused, {**EDIT, "prompt": prompt}) is closes


@pytest.mark.parametrize(
    ("outcome", "moves"),
    [
        (Busy("queue_full", "full", 5.0), True),
        (Busy("endpoint_unreachable", "no", 5.0), True),
        (Busy("spam_filter", "again", 30.0), False),
        (AccountRefused("bad_key", "no"), True),
        (GateClosed("endpoint_down"), True),
        (GateClosed("account_closed"), True),
        (GateClosed("budget_spent"), False),
        (GateClosed("not_on_disk"), False),
        (Unknown("lost"), False),
    ],
)
def test_what_moves_a_job(outcome: Outcome, moves: bool) -> None:
    """
    With several accounts, a job moves after an outcome that cost nothing and concerns the account. With one account, no
    job moves.
    """
    for may_move in (False, True):
        decision = decide(outcome, Attempt(1, 1, 0, 0, 1e9, may_move), RetryPolicy(), 0.0, 0.5)
        assert isinstance(decision, Retry)
        assert decision.moves == (moves and may_move)


def test_a_job_that_is_refused_for_itself_fails() -> None:
    """A refusal whose cause is the job itself fails the job, also with several accounts."""
    decision = decide(Refused("invalid_request", "no"), Attempt(1, 0, 0, 0, 1e9, True), RetryPolicy(), 0.0, 0.5)
    assert isinstance(decision, Fail)
