"""What the gateway remembers of API keys, and whom a look into Redis makes wait."""

from __future__ import annotations

import asyncio
from typing import Any

from producer.gateway.access import Keyring
from retouch.store.tenants import TenantStore


def test_a_known_key_never_waits_behind_guesses(client: Any) -> None:
    """A key whose two seconds are over is looked up in its tenant's turn, while guesses have all turns of theirs."""
    tenants = TenantStore(client)
    key, secret = tenants.create_key("acme", "producer", "a key")
    keyring = Keyring(tenants)

    async def find_again() -> None:
        assert await keyring.find(secret) == key
        keyring._keys.clear()  # as after REMEMBER_S
        async with keyring._lookups.of(""), keyring._lookups.of(""):
            found = await asyncio.wait_for(keyring.find(secret), 10)
        assert found is not None
        assert found.id == key.id

    asyncio.run(find_again())


def test_a_revoked_key_is_forgotten(client: Any) -> None:
    """A key that was revoked is not found once its two seconds are over, and nothing of it stays in memory."""
    tenants = TenantStore(client)
    key, secret = tenants.create_key("acme", "producer", "a key")
    keyring = Keyring(tenants)

    async def find_after_revocation() -> None:
        assert await keyring.find(secret)
        tenants.revoke(key.id)
        assert await keyring.find(secret)  # remembered
        keyring._keys.clear()
        assert await keyring.find(secret) is None

    asyncio.run(find_after_revocation())
    assert not keyring._keys
    assert not keyring._tenant_of
