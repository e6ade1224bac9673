"""
Tests of `retouch bench` on the command line: small measurements, printed as JSON. No assertion compares a duration.
"""

from __future__ import annotations

import json

import pytest

from tests.process_watch import retouch


@pytest.mark.parametrize(("name", "unit"), [("enqueue", "ms"), ("depth", "ms"), ("webhook", "ms"), ("cpu", "s")])
def test_a_small_measurement_gives_figures(name: str, unit: str) -> None:
    """A small measurement exits with 0, reports its progress on stderr, and prints JSON with positive figures."""
    done = retouch("bench", name, "--scale", "small", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["not_measured"] == {}
    assert report["before"]["cores"]
    assert report["before"]["versions"]["celery"]
    assert {(row["ours"] > 0, row["unit"]) for row in report["rows"]} == {(True, unit)}
    assert f"{name}: begins (small)" in done.stderr


def test_a_measurement_that_does_not_exist_is_a_usage_error() -> None:
    """With an unknown measurement, the command exits with 2 and prints the known names."""
    done = retouch("bench", "speed")
    assert done.returncode == 2
    assert "expected some of enqueue, bulk" in done.stderr
