"""Authentication by API keys as bearer tokens. A key is cached for two seconds, so few requests read it from Redis."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

from cachetools import LRUCache, TTLCache
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from retouch.errors import StoreUnavailable
from retouch.query import JobQuery
from retouch.store.audit import Actor
from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey, TenantStore
from retouch_producer.gateway.http.errors import ProblemError, unauthorized
from retouch_producer.gateway.http.limiter import Limiter
from retouch_producer.gateway.http.request_turns import take_turn
from retouch_producer.gateway.http.revocation import note_secret
from retouch_producer.gateway.http.roles import allows, is_cross_site, roles_for, sees_all

REMEMBER_S = 2.0
"""How long a key is cached, in seconds. A revoked key may still be accepted for this time."""
_USED_EVERY_S = 60.0
_REMEMBERED_MOST = 10_000
_LOOKUPS_AT_ONCE, _LOOKUPS_PER_TENANT, _LOOKUPS_WAITING = 8, 2, 1_000

_bearer = HTTPBearer(
    auto_error=False, scheme_name="ApiKey", bearerFormat="rtk_…", description="A key made by `retouch keys create`."
)


class KeyCache:
    """Caches the API keys of recent requests by their secret; only valid keys are cached."""

    def __init__(self, tenants: TenantStore) -> None:
        self._tenants = tenants
        self._keys: TTLCache[str, ApiKey] = TTLCache(_REMEMBERED_MOST, REMEMBER_S)
        # Kept for longer than the key: a caller whose key is looked up again waits with its own tenant's requests.
        self._tenant_of: LRUCache[str, str] = LRUCache(_REMEMBERED_MOST)
        self._lookups = Limiter(_LOOKUPS_AT_ONCE, _LOOKUPS_PER_TENANT, _LOOKUPS_WAITING)

    async def find(self, secret: str) -> ApiKey | None:
        """
        Return the API key that a secret belongs to, or None.

        If the key is revoked later, the current request is ended.
        """
        key = self._keys.get(secret) or await self._find_now(secret)
        if key:
            note_secret(secret)
        return key

    def last_tenant_of(self, secret: str) -> str | None:
        """Return the tenant of the key with this secret, as last read from Redis; None if the secret is not cached."""
        return self._tenant_of.get(secret)

    def are_valid(self, secrets: Sequence[str]) -> list[bool]:
        """
        Read from Redis whether the key of each secret is valid, and return the answers in order.

        Invalid keys are removed from the cache. Raises `StoreUnavailable`.
        """
        with clear_errors():
            validity = self._tenants.are_valid(secrets)
        for secret in (secret for secret, is_valid in zip(secrets, validity, strict=True) if not is_valid):
            self._keys.pop(secret, None)
        return validity

    async def learn(self, secret: str) -> None:
        """Look a secret up, so that `last_tenant_of` knows its tenant. Failures are ignored."""
        with suppress(ProblemError, StoreUnavailable):
            await self._find_now(secret)

    async def _find_now(self, secret: str) -> ApiKey | None:
        # All unknown secrets count as one tenant: somebody who guesses keys delays no caller with a known key.
        async with self._lookups.hold(self._tenant_of.get(secret, "")):
            if key := self._keys.get(secret):  # another request looked it up meanwhile
                return key
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
                # One write a minute for each key: `retouch keys list` needs no more.
                self._tenants.note_use(secret, time.time())
        return key


async def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)] = None
) -> ApiKey:
    """Return the caller's API key, after waiting for a turn of its tenant. Raises `unauthorized` and `forbidden`."""
    key_cache: KeyCache = request.app.state.dependencies.key_cache
    key = await key_cache.find(credentials.credentials) if credentials else None
    if key is None:
        detail = "expected `Authorization: Bearer rtk_…` with a valid API key"
        raise unauthorized(detail)
    require_allowed(key, request)
    if not request.scope["route"].path.startswith("/metrics"):  # who watches is no tenant that others could slow down
        await take_turn(key.tenant)
    return key


def require_allowed(key: ApiKey, request: Request) -> None:
    """
    Raise `forbidden` if the key's role does not allow the request, or if a browser sent the request from another site.
    """
    path: str = request.scope["route"].path
    if is_cross_site(request.method, request.headers):
        raise ProblemError("forbidden", "a browser sent this from another site; nothing was done")
    if not allows(key.role, request.method, path):
        needed = " or ".join(sorted(roles_for(request.method, path)))
        raise ProblemError("forbidden", f"this needs a key of role {needed}, not {key.role}; nothing was done")


Caller = Annotated[ApiKey, Depends(authenticate)]


def actor_of(key: ApiKey) -> Actor:
    """Return the caller in the form that the audit records."""
    return Actor("http", key.id, key.name, key.role)


def may_see(key: ApiKey, tenant: str) -> bool:
    """Return whether an API key may see things of a tenant. Routes answer 404 for things that the key may not see."""
    return sees_all(key.role) or key.tenant == tenant


def query_in_scope(key: ApiKey, query: JobQuery, tenant: str | None = None) -> JobQuery:
    """
    Return a query, limited to the jobs that a key may see, and to `tenant` if that is given.

    Raises `InvalidQuery` if both `tenant` and the query name a tenant. Raises `not-found` if the key may not see a
    named tenant.
    """
    for named in query.tenants:
        scope(key, named)
    wanted = scope(key, tenant)
    if query.tenants and not tenant:
        return query
    return query.also(JobQuery(tenants=(wanted,) if wanted else ()))


def scope(key: ApiKey, requested: str | None) -> str:
    """
    Return the tenant whose entries a list may show, or "" for the entries of all tenants.

    A key of role ops or viewer gets the requested tenant, or all tenants if none is requested. A key of role producer
    gets its own tenant. If such a key requests another tenant, the problem `not-found` is raised.
    """
    if sees_all(key.role):
        return requested or ""
    if requested not in (None, "", key.tenant):
        raise ProblemError("not-found", "no tenant has this name, or your key belongs to another one")
    return key.tenant
