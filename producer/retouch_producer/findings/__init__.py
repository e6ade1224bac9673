"""
The findings of checks, with a reason and advice for each. `retouch doctor` prints them, and the console shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "note", "bad"]
SIGNS: dict[Level, str] = {"good": "ok  ", "note": "note", "bad": "BAD "}


@dataclass(frozen=True)
class Finding:
    """One finding of a check. `why` says why it matters, and `do` is advice. Both are empty for the level `good`."""

    check: str
    level: Level
    what: str
    why: str = ""
    do: str = ""


def good(check: str, what: str) -> Finding:
    """Return a finding of level `good`: something is as it should be."""
    return Finding(check, "good", what)


def note(check: str, what: str, why: str, do: str) -> Finding:
    """Return a finding of level `note`: something may be intended, but the operator should know it."""
    return Finding(check, "note", what, why, do)


def bad(check: str, what: str, why: str, do: str) -> Finding:
    """Return a finding of level `bad`: something breaks a promise of Retouch now, or will break one."""
    return Finding(check, "bad", what, why, do)


def as_lines(findings: Sequence[Finding]) -> list[str]:
    """Return the findings as lines of text for people."""
    lines = []
    for finding in findings:
        lines.append(f"{SIGNS[finding.level]} {finding.check}: {finding.what}")
        lines += [f"       {word}: {text}" for word, text in (("why", finding.why), ("do", finding.do)) if text]
    return lines
