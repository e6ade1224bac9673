"""A short form of `make hostile`: every attack at a hundredth of its count. No assertion depends on time."""

from __future__ import annotations

import pytest

from tests.hostile.attacks import ATTACKS
from tests.hostile.report import Report
from tests.hostile.run import measure

SECONDS, SCALE = 4.0, 0.01
MEGABYTES_MOST = {"gateway": 900.0, "edits": 300.0, "deliveries": 300.0, "redis": 300.0}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return measure(
        tmp_path_factory.mktemp("hostile"), list(ATTACKS), seconds=SECONDS, scale=SCALE, seed=3, yields=False
    )


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_quiet_tenant_is_served_beside_a_hostile_one(report: Report) -> None:
    """Beside a hostile tenant, each request of the quiet tenant gets a status below 500, and each webhook arrives."""
    assert report.beside.wrong == [], report.table()
    assert report.server_errors() == {}, report.table()
    assert (report.quiet.missing, report.beside.missing) == (0, 0), report.table()
    assert all(one["begun"] for one in report.answers.values()), report.table()


@pytest.mark.chaos
@pytest.mark.timeout(300)
def test_memory_is_bounded_beside_a_hostile_tenant(report: Report) -> None:
    """While one tenant sends large pictures, batches and streams, the memory of each process stays below a bound."""
    used = report.beside.megabytes
    assert {name: used[name] for name, most in MEGABYTES_MOST.items() if used[name] > most} == {}
