"""Tests of the gateway's cache of API keys, and of the lookups of keys in Redis."""

from __future__ import annotations

import asyncio
from typing import Any

from retouch.store.tenants import TenantStore
from retouch_producer.gateway.http.auth import KeyCache


def test_a_known_key_never_waits_behind_guesses(client: Any) -> None:
    """A known key that has left the cache is found, even while guessed keys occupy all lookups for unknown keys."""
    tenants = TenantStore(client)
    key, secret = tenants.create_key("acme", "producer", "a key")
    key_cache = KeyCache(tenants)

    async def find_again() -> None:
        assert await key_cache.find(secret) == key
        key_cache._keys.clear()  # as after REMEMBER_S
        async with key_cache._lookups.hold(""), key_cache._lookups.hold(""):
            found = await asyncio.wait_for(key_cache.find(secret), 10)
        assert found is not None
        assert found.id == key.id

    asyncio.run(find_again())


def test_a_revoked_key_is_forgotten(client: Any) -> None:
    """After a revoked key has left the cache, the key is refused, and the cache stores nothing about the key."""
    tenants = TenantStore(client)
    key, secret = tenants.create_key("acme", "producer", "a key")
    key_cache = KeyCache(tenants)

    async def find_after_revocation() -> None:
        assert await key_cache.find(secret)
        tenants.revoke(key.id)
        assert await key_cache.find(secret)  # remembered
        key_cache._keys.clear()
        assert await key_cache.find(secret) is None

    asyncio.run(find_after_revocation())
    assert not key_cache._keys
    assert not key_cache._tenant_of
