"""Fixtures for the tests of outgoing requests."""

from __future__ import annotations

import pytest

from retouch.egress import guarded_session


@pytest.fixture(autouse=True)
def _connections_are_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let connections be reused for a minute, since a busy machine may need more than a second between two calls."""
    monkeypatch.setattr(guarded_session, "REUSE_WITHIN_S", 60.0)
