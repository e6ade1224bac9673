"""Turns at something that is bounded: in all, and for each tenant, so that one tenant cannot take every turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """So many at once in all, and of one tenant; who waits for its own tenant's turn takes none of the others'."""

    def __init__(self, at_once: int, per_tenant: int) -> None:
        self._all, self._per_tenant = asyncio.Semaphore(at_once), per_tenant
        self._of: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a turn, and give it back at the end."""
        own, users = self._of.get(tenant) or (asyncio.Semaphore(self._per_tenant), 0)
        self._of[tenant] = own, users + 1
        try:
            async with own, self._all:
                yield
        finally:
            own, users = self._of[tenant]
            self._of[tenant] = own, users - 1
            if users == 1:
                del self._of[tenant]
