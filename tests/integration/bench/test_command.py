"""`retouch bench` as it is typed: one measurement of each kind, small, as JSON; nothing is asserted on time."""

from __future__ import annotations

import json

import pytest

from tests.process_watch import retouch


@pytest.mark.parametrize(("name", "unit"), [("enqueue", "ms"), ("depth", "ms"), ("webhook", "ms"), ("cpu", "s")])
def test_a_small_measurement_gives_figures(name: str, unit: str) -> None:
    """Exit 0, the machine before and after, progress on stderr and rows with positive figures."""
    done = retouch("bench", name, "--scale", "small", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert told["not_measured"] == {}
    assert told["before"]["cores"]
    assert told["before"]["versions"]["celery"]
    assert {(row["ours"] > 0, row["unit"]) for row in told["rows"]} == {(True, unit)}
    assert f"{name}: begins (small)" in done.stderr


def test_a_measurement_that_does_not_exist_is_wrong_use() -> None:
    """Exit 2 and the names that there are."""
    done = retouch("bench", "speed")
    assert done.returncode == 2
    assert "expected some of enqueue, bulk" in done.stderr
