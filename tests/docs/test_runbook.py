"""
`docs/runbook.md` has a heading for each log event, error code and finding, and for each reason why a call gets no
answer.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import get_args

import pytest

from retouch import outcomes, policy
from retouch.egress.http import TroubleKind
from tests.docs.pages import DOCS, ROOT, headings, table

PAGE = DOCS / "runbook.md"
HEADINGS = headings(PAGE)
CALLS = ("Fail", "Retry", "Refused", "Busy", "_post_again")


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def calls(*folders: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call in these folders, with the last part of the called name."""
    for path in sources(*folders):
        for node in nodes(path):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                yield name, node


def texts(node: ast.AST) -> list[str]:
    values = [found.value for found in ast.walk(node) if isinstance(found, ast.Constant)]
    return [value for value in values if isinstance(value, str)]


def log_events() -> set[str]:
    """Return the events that our loggers write: `log.info("event", …)`."""
    return {
        text
        for name, call in calls("retouch", "producer", "worker", "ops")
        if name in ("debug", "info", "warning", "error", "exception", "critical")
        and getattr(getattr(call.func, "value", None), "id", "") == "log"
        for text in texts(call.args[0])
    }


def error_codes() -> set[str]:
    """Return the error codes of jobs that fail or wait, from the client, the worker and the scripts."""
    from retouch_worker.edits import classification

    found = {
        text
        for name, call in calls("retouch", "worker")
        if name in CALLS
        for argument in call.args[:2]
        for text in texts(argument)
        if re.fullmatch(r"[a-z]+(_[a-z]+)+|validation", text)
    }
    scripts = "".join(path.read_text() for path in (ROOT / "retouch" / "store" / "lua").rglob("*.lua"))
    return {
        *found,
        *policy.GATES,
        *classification._REFUSING.values(),
        *dict(classification._CODES_BY_PHRASE).values(),
        *re.findall(r"code = '(\w+)'", scripts),
    }


def batch_codes() -> set[str]:
    return {
        texts(call.args[0])[0]
        for name, call in calls("producer/retouch_producer/cli/batch")
        if name == "fail" and isinstance(call.args[0], ast.Constant)
    }


def findings() -> set[str]:
    """
    Return each bad finding and each note of the doctor as "CHECK: TEXT". An ellipsis replaces each inserted value.
    """
    found = set()
    for path in sources("ops/retouch_ops/doctor", "producer/retouch_producer/findings"):
        for function in nodes(path):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("bad", "note"):
                    found |= {f"{path.stem}: {what}".replace("…:…", "…") for what in spellings(call.args[1], function)}
    return found


def spellings(node: ast.AST, function: ast.FunctionDef) -> list[str]:
    """Return the texts that an expression can have. An ellipsis replaces each part whose text is unknown."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.IfExp):
        return [*spellings(node.body, function), *spellings(node.orelse, function)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(parts) for parts in product(*(spellings(part, function) for part in node.values))]
    if isinstance(node, ast.FormattedValue):
        choice = assigned(node.value, function)
        return spellings(choice, function) if isinstance(choice, ast.IfExp) else ["…"]
    if isinstance(node, ast.BinOp):
        return [a + b for a, b in product(spellings(node.left, function), spellings(node.right, function))]
    text = assigned(node, function)
    return spellings(text, function) if isinstance(text, ast.IfExp | ast.JoinedStr | ast.BinOp) else ["…"]


def assigned(node: ast.AST, function: ast.FunctionDef) -> ast.AST | None:
    """Return the expression that a function assigns to the name `node`, or None if there is none."""
    for statement in ast.walk(function):
        if isinstance(statement, ast.Assign) and isinstance(node, ast.Name):
            target = statement.targets[0]
            if isinstance(target, ast.Name) and target.id == node.id:
                return statement.value
    return None


def good_findings() -> set[str]:
    """Return the texts in `findings` that need no heading, since the doctor reports them as good."""
    return {"redis: … MB used, no limit set"}


@pytest.mark.parametrize("event", sorted(log_events()))
def test_each_log_event_has_its_heading(event: str) -> None:
    """The runbook has a heading for every event of the log."""
    assert event in HEADINGS


@pytest.mark.parametrize("code", sorted(error_codes() | batch_codes()))
def test_each_error_code_has_its_heading(code: str) -> None:
    """The runbook has a heading for each code with which a job, or a row of a batch, can fail."""
    assert code in HEADINGS


@pytest.mark.parametrize("trouble", [*get_args(TroubleKind), "broker", "raised"])
def test_each_delivery_trouble_has_its_heading(trouble: str) -> None:
    """The runbook has a heading for each reason why a delivery got no answer."""
    assert trouble in HEADINGS


def test_reasons_and_events_of_receivers_have_their_headings() -> None:
    """
    The runbook has a heading for each reason that ends a delivery without an attempt, and for each receiver event.
    """
    reasons = {
        texts(call.args[0])[0] for name, call in calls("worker/retouch_worker/deliveries") if name == "undeliverable"
    }
    script = (ROOT / "retouch/store/lua/modules/receiver_health.lua").read_text()
    events = set(re.findall(r"announce\('(receiver\.\w+)'", script))
    assert (len(reasons), len(events)) == (3, 2)
    assert reasons | {f"event {kind}" for kind in events} <= set(HEADINGS)


@pytest.mark.parametrize("finding", sorted(findings() - good_findings()))
def test_each_finding_of_the_doctor_has_its_heading(finding: str) -> None:
    """
    The runbook has a heading for each bad finding of `retouch doctor`. The heading begins with the finding's words.
    """
    assert any(heading.startswith(finding) for heading in HEADINGS), finding


def test_no_heading_explains_what_is_gone() -> None:
    """Every event, code or finding with a heading still exists in the source."""
    page = PAGE.read_text()
    sections = {text.split("\n")[0]: text for text in page.split("\n## ")[1:]}

    def under(section: str) -> set[str]:
        return {found.replace("`", "") for found in re.findall(r"^### (.+)$", sections[section], re.MULTILINE)}

    assert under("Log events") == log_events()
    assert under("Job error codes") == error_codes()
    assert under("Codes of retouch batch") == batch_codes()
    known = findings()
    assert [found for found in under("Doctor findings") if not any(found.startswith(one) for one in known)] == []


def test_each_outcome_of_an_attempt_is_named() -> None:
    """The table under `attempt_ended` has every outcome of an attempt, except for `NotStarted` and `Ready`."""
    names = {kind.__name__ for kind in get_args(outcomes.Outcome)}
    assert {row["outcome"] for row in table(PAGE, "outcome")} == names - {"NotStarted", "Ready"}
