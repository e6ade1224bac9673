"""Prints the outcome of a command for each id, and computes the exit code."""

from __future__ import annotations

import json
from collections.abc import Iterable

UNKNOWN = "unknown"
_MEANING = {
    "final": "the job had ended already",
    "requested": "its call is in flight, and the job ends with that call",
    "open": "it is still under way, nothing to do",
    "succeeded": "the job has its image, nothing to do",
    "unchanged": "the mark was so before",
    "no_result": "only the result of a succeeded job can be approved",
    "gone": "its job is no longer on record, so nothing was sent",
    UNKNOWN: "it never existed, or its retention is over",
}


def print_outcomes(outcomes: dict[str, str], as_json: bool, if_empty: str = "") -> None:
    """
    Print the outcome of each id, as one JSON object or as one line for each id.

    Without JSON, print `if_empty` if there is no outcome.
    """
    if as_json:
        print(json.dumps(outcomes, indent=2))
        return
    print("\n".join(f"{item}  {_with_meaning(word)}" for item, word in outcomes.items()) or if_empty)


def _with_meaning(word: str) -> str:
    return f"{word}: {_MEANING[word]}" if word in _MEANING else word


def exit_code(words: Iterable[str], expected: set[str]) -> int:
    """Return 2 if an outcome is `unknown`. Otherwise return 0 if all outcomes are in `expected`, else 1."""
    outcomes = set(words)
    return 2 if UNKNOWN in outcomes else 1 if outcomes - expected else 0
