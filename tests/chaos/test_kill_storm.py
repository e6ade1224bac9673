"""Storms of fifty kills in CI; the long run is `make chaos`."""

from __future__ import annotations

import pytest

from tests.chaos.kill_storm import Storm


@pytest.mark.chaos
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("max_charges", "seed"), [(1, 11), (2, 12)])
def test_no_promise_breaks_under_fifty_kills(max_charges: int, seed: int) -> None:
    """Fifty kills of workers and producers break no promise, and no job is charged more often than `max_charges`."""
    report = Storm(kills=50, seed=seed, max_charges=max_charges, within_s=180.0).run()
    assert report.broken == [], report.table()
    assert len(report.kills) >= 20, report.table()
    assert max(report.charges) <= max_charges


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_an_account_comes_and_goes_during_a_storm() -> None:
    """Fifty kills with three accounts break no promise, even if one account is removed and added again."""
    report = Storm(kills=50, seed=13, max_charges=2, within_s=240.0, accounts=3).run()
    assert report.broken == [], report.table()
    assert max(report.charges) <= 2
