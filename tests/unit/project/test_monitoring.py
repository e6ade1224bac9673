"""Each alert has tests and an entry in the runbook, and the dashboard equals what its module writes."""

from __future__ import annotations

import re
from typing import Any

import yaml

from retouch_ops import dashboard
from tests.docs.pages import DOCS, ROOT, headings

RULES = ROOT / "ops" / "prometheus"
METRIC = re.compile(r"retouch_[a-z_]+")
SUFFIX = re.compile(r"_(bucket|count)$")


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((RULES / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def documented() -> set[str]:
    """Return the names of the metrics in monitoring.md."""
    return set(METRIC.findall((DOCS / "monitoring.md").read_text()))


def test_each_alert_has_its_entry_and_its_test() -> None:
    """
    Each alert has a heading in the runbook, a link to this heading, a severity and a test. The runbook and the tests
    name no other alerts.
    """
    names = [alert["alert"] for alert in alerts()]
    page = (DOCS / "runbook.md").read_text().split("\n## ")
    entries = re.findall(r"^### (Retouch\w+)$", next(part for part in page if part.startswith("Alerts")), re.MULTILINE)
    assert entries == names
    assert set(names) <= set(headings(DOCS / "runbook.md"))
    tests = yaml.safe_load((RULES / "rules_test.yml").read_text())["tests"]
    assert {test["name"] for test in tests} == set(names)
    for alert in alerts():
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in {"page", "ticket"}


def test_rules_and_dashboard_use_documented_metrics() -> None:
    """Every metric in a rule or on the dashboard is in the table of monitoring.md."""
    texts = [rule["expr"] for rule in rules()] + dashboard.expressions()
    used = {SUFFIX.sub("", name) for text in texts for name in METRIC.findall(text)}
    assert len(used) > 20
    assert used <= documented()


def enclosing(text: str, place: int) -> list[str]:
    """Return the names of the functions (such as `max`) around a position in an expression, outermost first."""
    open_heads: list[str] = []
    for at, character in enumerate(text[:place]):
        if character == "(":
            open_heads.append(text[:at].rstrip())
        elif character == ")":
            open_heads.pop()
    return [found[1] for head in open_heads if (found := re.search(r"(\w+)(?: by \([\w, ]*\))?$", head))]


def test_no_rule_counts_gateways() -> None:
    """
    Rules and dashboard use each metric of the store inside `max` or `min`, so that several gateways do not add up.
    """
    for text in [rule["expr"] for rule in rules()] + dashboard.expressions():
        places = [found for found in METRIC.finditer(text) if found[0] != "retouch_http_answers_total"]
        assert [found[0] for found in places if not {"max", "min"} & set(enclosing(text, found.start()))] == []


def test_the_dashboard_is_the_one_that_its_module_writes() -> None:
    """The committed JSON of the dashboard equals the JSON that `python -m retouch_ops.dashboard` writes."""
    assert dashboard.FILE.read_text() == dashboard.text()
