"""Fixtures of the tests of the store."""

from __future__ import annotations

from typing import Any

import pytest

from retouch.store.accounts import AccountStore


@pytest.fixture
def store(client: Any) -> AccountStore:
    """The accounts of the endpoint, as operators see and switch them."""
    return AccountStore(client)
