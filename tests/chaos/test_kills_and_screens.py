"""
One round of kills, after which all screens are compared. `python -m tests.chaos.kills_and_screens` runs more rounds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.kills_and_screens import run_rounds


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_every_screen_has_the_numbers_of_the_books(tmp_path: Path) -> None:
    """After kills of a worker, the gateway and Redis, every screen shows the numbers of the simulator's books."""
    facts, found = run_rounds(tmp_path, rounds=1, seed=5)
    assert found == []
    assert facts["succeeded"] > 0
    assert facts["unknown"] > 0
    assert facts["wasted"] > 0
