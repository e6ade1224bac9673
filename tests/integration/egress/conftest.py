"""Fixtures of the tests of requests to servers of others."""

from __future__ import annotations

import pytest

from retouch.egress import guarded_session


@pytest.fixture(autouse=True)
def _connections_are_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a connection be used again after more than a second, which a busy machine needs between two calls."""
    monkeypatch.setattr(guarded_session, "REUSE_WITHIN_S", 60.0)
