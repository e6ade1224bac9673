"""The clients have types that type checkers of callers can read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_clients_types_are_what_callers_expect() -> None:
    """mypy infers the documented types for both clients, in its strict mode."""
    command = [sys.executable, "-m", "mypy", "--strict", "tests/typed/clients.py"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert checked.returncode == 0, checked.stdout


def test_retouch_says_that_it_is_typed() -> None:
    """The package contains py.typed, which makes type checkers read its annotations."""
    assert (ROOT / "retouch" / "py.typed").exists()
