"""Tenants, their limits, and the API keys by which the gateway identifies them."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from retouch.batches import batched
from retouch.store import keys
from retouch.store.lanes import Lanes
from retouch.store.ledger import Ledger
from retouch.store.redis_commands import Client

KEY_PREFIX = "rtk_"
ROLES = ("producer", "viewer", "ops")
REVOKED_LIFE_S = 90 * 86_400
"""For how many seconds a revoked key is still listed."""

_ID_PREFIX = "key_"
_IDENTITY = re.compile(f"{_ID_PREFIX}[0-9a-f]{{16}}")
_PAGE, _SCANNED_AT_ONCE = 500, 1_000


@dataclass(frozen=True, slots=True)
class ApiKey:
    """
    One API key. The store has only a hash of its secret. Instants are in Unix seconds.

    A key of role `producer` reads and changes the data of its tenant. A key of role `viewer` reads the data of all
    tenants and changes nothing. A key of role `ops` reads and changes the data of all tenants, and may change lanes and
    accounts. `last_used_at` is accurate to a minute.
    """

    id: str
    tenant: str
    role: str
    name: str
    created_at: float
    last_used_at: float | None
    revoked_at: float | None


@dataclass(frozen=True, slots=True)
class Tenant:
    """
    The limits of a tenant; None means no limit.

    `weight` is the tenant's share of dispatches while other tenants wait too. `in_flight_limit` is how many calls the
    tenant may have at the endpoint at one time. `budget` is how many calls it may make in a UTC day. `backlog_limit` is
    how many of its jobs may wait. With `share_duplicates`, exact duplicates become one job.
    """

    name: str
    weight: float = 1.0
    in_flight_limit: int | None = None
    backlog_limit: int | None = None
    budget: int | None = None
    share_duplicates: bool = False


class TenantStore:
    """API keys and the limits of tenants, in Redis. A change takes effect in every gateway within seconds."""

    def __init__(self, client: Client) -> None:
        self._client, self._lanes, self._ledger = client, Lanes(client), Ledger(client)

    def create_key(self, tenant: str, role: str = "producer", name: str = "") -> tuple[ApiKey, str]:
        """
        Create an API key and return it with its secret, which cannot be read again.

        Raise `ValueError` for an unknown role.
        """
        if role not in ROLES:
            raise ValueError(f"role: expected {' or '.join(ROLES)}, got {role!r:.40}")
        secret = KEY_PREFIX + secrets.token_urlsafe(32)
        return self.add_key(secret, tenant, role, name), secret

    def add_key(self, secret: str, tenant: str, role: str, name: str = "") -> ApiKey:
        """Record a key whose secret was made elsewhere, and return it; a key that is on record stays as it is."""
        digest = digest_of(secret)
        fields = {"tenant": tenant, "role": role, "name": name, "created_at": f"{time.time():.6f}"}
        if not self._client.exists(keys.api_key(digest)):
            self._client.hset(keys.api_key(digest), mapping=fields)
        # Also for a key that is on record: a process may have died between these commands.
        self._client.sadd(keys.API_KEYS, digest)
        self._client.sadd(keys.TENANTS, tenant)
        return _key(digest, self._client.hgetall(keys.api_key(digest)))

    def find(self, secret: str) -> ApiKey | None:
        """Return the key with this secret; None if there is no such key or the key is revoked."""
        if not secret.startswith(KEY_PREFIX):
            return None
        return self.find_by_digest(digest_of(secret))

    def find_by_digest(self, digest: str) -> ApiKey | None:
        """Return the key whose secret has this hash; None if the key is unknown or revoked."""
        raw = self._client.hgetall(keys.api_key(digest))
        return _key(digest, raw) if raw and "revoked_at" not in raw else None

    def are_valid(self, key_secrets: Sequence[str]) -> list[bool]:
        """
        Return for each secret whether its key is on record and not revoked. All secrets take one round trip together.
        """
        with self._client.pipeline(transaction=False) as pipe:
            for secret in key_secrets:
                pipe.hmget(keys.api_key(digest_of(secret)), "tenant", "revoked_at")
            return [bool(tenant) and not revoked_at for tenant, revoked_at in pipe.execute()]

    def note_use(self, secret: str, at: float) -> None:
        """Record that the key with this secret was used at `at` (Unix seconds)."""
        self._client.hset(keys.api_key(digest_of(secret)), "last_used_at", f"{at:.0f}")

    def api_keys(self, tenant: str = "") -> list[ApiKey]:
        """
        Return the keys of one tenant, or of all if `tenant` is empty, oldest first.

        A revoked key is listed for 90 days.
        """
        listed = list[ApiKey]()
        for digests in batched(self._client.smembers(keys.API_KEYS), _PAGE):
            with self._client.pipeline(transaction=False) as pipe:
                for digest in digests:
                    pipe.hgetall(keys.api_key(digest))
                found = zip(digests, pipe.execute(), strict=True)
            listed += [_key(digest, raw) for digest, raw in found if raw and tenant in ("", raw["tenant"])]
        return sorted(listed, key=lambda key: (key.created_at, key.id))

    def revoke(self, identity: str) -> ApiKey | None:
        """Revoke the key with this id for ever and return it; return None if the id is unknown."""
        if not _IDENTITY.fullmatch(identity):
            return None
        # The id is the beginning of the hash, so Redis itself looks through the hashes and returns only this one.
        prefix = identity.removeprefix(_ID_PREFIX)
        for digest in self._client.sscan_iter(keys.API_KEYS, match=f"{prefix}*", count=_SCANNED_AT_ONCE):
            if self._client.exists(keys.api_key(digest)):
                self._client.hsetnx(keys.api_key(digest), "revoked_at", f"{time.time():.3f}")
                # Kept for a while, so that a list shows whose key it was.
                self._client.expire(keys.api_key(digest), REVOKED_LIFE_S)
                return _key(digest, self._client.hgetall(keys.api_key(digest)))
        return None

    def tenant(self, name: str) -> Tenant:
        """Return the limits of a tenant; limits that were never set have the defaults of `Tenant`."""
        with self._client.pipeline(transaction=False) as pipe:
            pipe.hget(keys.lane("edits", "weights"), name).hget(keys.lane("edits", "limits"), name)
            pipe.hget(keys.lane("edits", "backlog_limits"), name).hget(keys.lane("edits", "budgets"), name)
            pipe.hget(keys.SHARING, name)
            weight, in_flight, backlog, budget, sharing = pipe.execute()
        return Tenant(name, float(weight or 1), _whole(in_flight), _whole(backlog), _whole(budget), sharing == "1")

    def set_tenant(
        self,
        name: str,
        *,
        weight: float | None = None,
        in_flight_limit: int | None = None,
        backlog_limit: int | None = None,
        budget: int | None = None,
        share_duplicates: bool | None = None,
    ) -> Tenant:
        """
        Change the limits of a tenant and return them; None leaves a limit as it is, 0 removes it.

        Raises `ValueError`, and changes nothing, for a limit below 0 and for a weight outside 0.01 to 1,000.
        """
        limits = {"in_flight_limit": in_flight_limit, "backlog_limit": backlog_limit, "budget": budget}
        for limit_name, limit in limits.items():
            if limit is not None and limit < 0:
                raise ValueError(f"{limit_name}: expected 0 or more, got {limit}")
        # A stored limit of 0 would stop the tenant, so the limit is removed.
        self._lanes.set_group("edits", name, limit=in_flight_limit or None, weight=weight)
        if in_flight_limit == 0:
            self._client.hdel(keys.lane("edits", "limits"), name)
        self._ledger.set_limits(name, budget=budget, backlog_limit=backlog_limit)
        if share_duplicates is not None:
            self._client.hset(keys.SHARING, name, int(share_duplicates))
        return self.tenant(name)


def digest_of(secret: str) -> str:
    """Return the SHA-256 of a secret, in hex."""
    # A slow hash would not help: a secret has 32 random bytes, so nobody can guess it.
    return hashlib.sha256(secret.encode()).hexdigest()


def _identity(digest: str) -> str:
    """Return the id of an API key, which is made from the hash of its secret."""
    return f"{_ID_PREFIX}{digest[:16]}"


def _key(digest: str, raw: dict[str, str]) -> ApiKey:
    return ApiKey(
        id=_identity(digest),
        tenant=raw["tenant"],
        role=raw["role"],
        name=raw.get("name", ""),
        created_at=float(raw["created_at"]),
        last_used_at=float(raw["last_used_at"]) if raw.get("last_used_at") else None,
        revoked_at=float(raw["revoked_at"]) if raw.get("revoked_at") else None,
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text else None
