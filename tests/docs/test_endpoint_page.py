"""The tables of `docs/endpoint.md` agree with the code."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from retouch.egress.http import Answer, Trouble, TroubleKind
from retouch.outcomes import Fail, Failed, GenerationLost, Poll, Processing, Ready, Refused, Retry
from retouch.policy import Attempt, RetryPolicy, decide
from retouch_worker.edits import classification
from retouch_worker.edits.classification import charge_kind, classify, classify_poll
from tests.docs.pages import DOCS, table

PAGE = DOCS / "endpoint.md"
ASKED = Processing("1", "https://api.example/fetch/1", 0.0)
HTML = b"<!DOCTYPE html><title>502</title>"


def answer_of(row: dict[str, str]) -> Answer:
    body = row["body"].encode() if row["body"].startswith("{") else HTML
    assert body == HTML or json.loads(body)
    return Answer(int(row.get("HTTP", 200)), {}, body, 0.1)


def follows(outcome: Any, charges: int) -> tuple[str, str]:
    """
    Return (next step, error code) after the outcome of a first attempt, in the words of the page.

    For a download and for a poll, the error code is empty.
    """
    if isinstance(outcome, Ready):
        return "download", ""
    decision = decide(outcome, Attempt(1, charges, 0, 0, 1e6), RetryPolicy(), 0.0, 0.5)
    if isinstance(decision, Poll):
        return "poll again", ""
    assert isinstance(decision, Retry | Fail)
    if isinstance(decision, Fail):
        return "fail", decision.code
    return "wait" if decision.refund else "POST again", decision.code


def documented(row: dict[str, str]) -> tuple[str, str, str, str]:
    """Return the outcome, class, error code and next step that a row documents."""
    return row["outcome"], row["class"], row["code"], row["what follows"].split("**")[1]


def made_of(outcome: Any) -> tuple[str, str, str, str]:
    """Return (name, class, error code, next step) of an outcome, as the worker decides."""
    kind = charge_kind(outcome)
    words, code = follows(outcome, int(kind not in ("refused", "failed")))
    return type(outcome).__name__, kind, code, words


@pytest.mark.parametrize("row", table(PAGE, "HTTP"), ids=lambda row: f"{row['HTTP']} {row['body'][:40]}")
def test_each_answer_is_read_as_the_page_says(row: dict[str, str]) -> None:
    """For each row about an answer, the worker finds the documented outcome, class, error code and next step."""
    assert documented(row) == made_of(classify(answer_of(row), "https://api.example/fetch"))


@pytest.mark.parametrize("row", table(PAGE, "trouble"), ids=lambda row: row["trouble"])
def test_each_trouble_is_read_as_the_page_says(row: dict[str, str]) -> None:
    """
    For each row about a call without an answer, the worker finds the documented outcome, class, error code and next
    step.

    The column `sent` says whether anything was sent.
    """
    kind: Any = row["trouble"]
    assert documented(row) == made_of(classify(Trouble(kind, row["sent"] == "yes", "a detail", 0.1), ""))


@pytest.mark.parametrize("row", table(PAGE, "body"), ids=lambda row: f"{row['body'][:40]} {row['age']}")
def test_each_poll_is_read_as_the_page_says(row: dict[str, str]) -> None:
    """
    For each row about an answer to a poll, the worker finds the documented outcome and next step.

    The column `age` has the seconds since the POST.
    """
    outcome = classify_poll(answer_of(row), ASKED, float(row["age"]))
    words, _ = follows(outcome, int(not isinstance(outcome, Failed)))
    assert (row["outcome"], row["what follows"].split("**")[1]) == (type(outcome).__name__, words)
    assert isinstance(outcome, Ready | Processing | Failed | GenerationLost)


def test_no_code_and_no_trouble_is_missing() -> None:
    """The page has a row for each error code of a refusal, and for each reason why a call gets no answer."""
    rows = [*table(PAGE, "HTTP"), *table(PAGE, "trouble")]
    codes = {*classification._REFUSING.values(), *(code for _, code in classification._CODES_BY_PHRASE)}
    assert codes <= {row["code"] for row in rows}
    assert {row["trouble"] for row in table(PAGE, "trouble")} == set(get_args(TroubleKind))
    assert {int(row["HTTP"]) for row in rows if row.get("body") == "(a page)"} >= {400, 401, 402, 403, 404, 429}
    assert Refused.__name__ in {row["outcome"] for row in rows}
