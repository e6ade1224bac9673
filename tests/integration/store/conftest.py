"""Fixtures of the tests of the store."""

from __future__ import annotations

from typing import Any

import pytest

from retouch.store.accounts import AccountStore


@pytest.fixture
def store(client: Any) -> AccountStore:
    """Return the store of the endpoint's accounts, which operators use to list and switch accounts."""
    return AccountStore(client)
