"""One round of kills, then all screens; more rounds are `python -m tests.chaos.kills_and_screens`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.kills_and_screens import run_rounds


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_every_screen_has_the_numbers_of_the_books(tmp_path: Path) -> None:
    """After kill -9 of worker, gateway and Redis, console, CLI, API and metrics say what the simulator counted."""
    facts, found = run_rounds(tmp_path, rounds=1, seed=5)
    assert found == []
    assert facts["succeeded"] > 0
    assert facts["unknown"] > 0
    assert facts["wasted"] > 0
