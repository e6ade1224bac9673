"""Who is asking: API keys as bearer tokens, remembered for two seconds, so that a key costs Redis next to nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

from cachetools import LRUCache, TTLCache
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey, TenantStore
from retouch_producer.gateway.http.errors import ProblemError, unauthorized
from retouch_producer.gateway.http.limiter import Limiter
from retouch_producer.gateway.http.request_turns import take_turn
from retouch_producer.gateway.http.revocation import came_with

SEES_ALL = ("ops", "viewer")
"""Roles that see all tenants; only `ops` changes what is theirs."""
REMEMBER_S = 2.0
"""How long a revoked key may go on working."""
_USED_EVERY_S = 60.0
_REMEMBERED_MOST = 10_000
_LOOKUPS_AT_ONCE, _LOOKUPS_PER_TENANT, _LOOKUPS_WAITING = 8, 2, 1_000

_bearer = HTTPBearer(
    auto_error=False, scheme_name="ApiKey", bearerFormat="rtk_…", description="A key made by `retouch keys create`."
)


class KeyCache:
    """The keys that were seen just now. Only good ones are remembered."""

    def __init__(self, tenants: TenantStore) -> None:
        self._tenants = tenants
        self._keys: TTLCache[str, ApiKey] = TTLCache(_REMEMBERED_MOST, REMEMBER_S)
        self._tenant_of: LRUCache[str, str] = LRUCache(_REMEMBERED_MOST)
        self._lookups = Limiter(_LOOKUPS_AT_ONCE, _LOOKUPS_PER_TENANT, _LOOKUPS_WAITING)

    async def find(self, secret: str) -> ApiKey | None:
        """Return the key that a secret belongs to, or None; the current request ends when it is revoked."""
        key = self._keys.get(secret) or await self._find_now(secret)
        if key:
            came_with(secret)
        return key

    def are_valid(self, secrets: Sequence[str]) -> list[bool]:
        """Look secrets up in one round trip, past what is remembered; blocks. Raises `StoreUnavailable`."""
        with clear_errors():
            found = self._tenants.are_valid(secrets)
        for secret in (secret for secret, is_valid in zip(secrets, found, strict=True) if not is_valid):
            self._keys.pop(secret, None)
        return found

    async def _find_now(self, secret: str) -> ApiKey | None:
        # Secrets that were never seen share one tenant's part: who guesses keys holds up nobody who has one.
        async with self._lookups.of(self._tenant_of.get(secret, "")):
            key = await run_in_threadpool(self._look_up, secret)
        if key:
            self._keys[secret], self._tenant_of[secret] = key, key.tenant
        else:
            self._keys.pop(secret, None)
            self._tenant_of.pop(secret, None)
        return key

    def _look_up(self, secret: str) -> ApiKey | None:
        with clear_errors():
            key = self._tenants.find(secret)
            if key and time.time() - (key.last_used_at or 0) > _USED_EVERY_S:
                self._tenants.note_use(secret, time.time())
        return key


async def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None
) -> ApiKey:
    """Give the caller's key, or answer 401."""
    key_cache: KeyCache = request.app.state.tools.key_cache
    key = await key_cache.find(credentials.credentials) if credentials else None
    if key is None:
        detail = "expected `Authorization: Bearer rtk_…` with a key that is known and not revoked"
        raise unauthorized(detail)
    await take_turn(key.tenant)
    return key


async def authenticate_ops(key: Annotated[ApiKey, Depends(authenticate)]) -> ApiKey:
    """Give the caller's key, which must be of role ops, or answer 403."""
    if key.role != "ops":
        raise ProblemError("forbidden", "this needs a key of role ops; nothing was done")
    return key


Caller = Annotated[ApiKey, Depends(authenticate)]
OpsCaller = Annotated[ApiKey, Depends(authenticate_ops)]


def may_see(key: ApiKey, tenant: str) -> bool:
    """Tell whether what belongs to a tenant exists for this key."""
    return key.role in SEES_ALL or key.tenant == tenant


def scope(key: ApiKey, wanted: str | None) -> str:
    """Give the tenant that a list is about: "" is all, for ops alone. A producer that names another gets 404."""
    if key.role in SEES_ALL:
        return wanted or ""
    if wanted not in (None, "", key.tenant):
        raise ProblemError("not-found", "no tenant has this name, or it is not yours")
    return key.tenant
