"""Tenants and their API keys: whom the gateway serves, in which role, and how much each may ask for."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from retouch.store import keys
from retouch.store.lanes import Lanes
from retouch.store.ledger import Ledger
from retouch.store.redis_commands import Client

KEY_PREFIX = "rtk_"
ROLES = ("producer", "ops")
REVOKED_LIFE_S = 90 * 86_400
"""How long a revoked key stays in the list."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """
    One API key, without its secret, of which only a hash is kept. Instants in Unix seconds.

    Role `producer` sees and moves what is its tenant's; `ops` sees all tenants, pauses and resumes. `last_used_at` is
    right to the minute.
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
    What one tenant may do: None is no limit.

    `weight` is its share when others wait too; `in_flight_limit` bounds its calls at the endpoint at once, `budget`
    those of a UTC day, `backlog_limit` its waiting jobs. `share_duplicates`: exact duplicates become one job.
    """

    name: str
    weight: float = 1.0
    in_flight_limit: int | None = None
    backlog_limit: int | None = None
    budget: int | None = None
    share_duplicates: bool = False


class TenantStore:
    """Keys and limits in Redis; what is changed counts from the next request on, in every gateway within seconds."""

    def __init__(self, client: Client) -> None:
        self._client, self._lanes, self._ledger = client, Lanes(client), Ledger(client)

    def create_key(self, tenant: str, role: str = "producer", name: str = "") -> tuple[ApiKey, str]:
        """Make a key and give it with its secret, which can never be shown again. Raises `ValueError` for a role."""
        if role not in ROLES:
            raise ValueError(f"role: expected {' or '.join(ROLES)}, got {role!r:.40}")
        secret = KEY_PREFIX + secrets.token_urlsafe(32)
        return self.add_key(secret, tenant, role, name), secret

    def add_key(self, secret: str, tenant: str, role: str, name: str = "") -> ApiKey:
        """Put a secret that was made elsewhere on record; one that is there already is left as it is."""
        digest = digest_of(secret)
        fields = {"tenant": tenant, "role": role, "name": name, "created_at": f"{time.time():.6f}"}
        if not self._client.exists(keys.api_key(digest)):
            self._client.hset(keys.api_key(digest), mapping=fields)
        self._client.sadd(keys.API_KEYS, digest)
        self._client.sadd(keys.TENANTS, tenant)
        return _key(digest, self._client.hgetall(keys.api_key(digest)))

    def find(self, secret: str) -> ApiKey | None:
        """Give the key that a secret belongs to; None for unknown and revoked ones."""
        if not secret.startswith(KEY_PREFIX):
            return None
        return self.find_by_digest(digest_of(secret))

    def find_by_digest(self, digest: str) -> ApiKey | None:
        """Return the key whose secret has this hash; None for unknown and revoked ones."""
        raw = self._client.hgetall(keys.api_key(digest))
        return _key(digest, raw) if raw and "revoked_at" not in raw else None

    def are_valid(self, secrets: Sequence[str]) -> list[bool]:
        """Say of each secret whether it is a known key that is not revoked, in one round trip."""
        with self._client.pipeline(transaction=False) as pipe:
            for secret in secrets:
                pipe.hmget(keys.api_key(digest_of(secret)), "tenant", "revoked_at")
            return [bool(tenant) and not revoked_at for tenant, revoked_at in pipe.execute()]

    def note_use(self, secret: str, at: float) -> None:
        """Note that a key was used."""
        self._client.hset(keys.api_key(digest_of(secret)), "last_used_at", f"{at:.0f}")

    def api_keys(self, tenant: str = "") -> list[ApiKey]:
        """List the keys of one tenant or of all, oldest first; revoked ones for 90 days."""
        found = [
            (digest, self._client.hgetall(keys.api_key(digest))) for digest in self._client.smembers(keys.API_KEYS)
        ]
        listed = [_key(digest, raw) for digest, raw in found if raw and tenant in ("", raw["tenant"])]
        return sorted(listed, key=lambda key: (key.created_at, key.id))

    def revoke(self, identity: str) -> ApiKey | None:
        """Revoke a key for good; None when there is no such key."""
        for digest in self._client.smembers(keys.API_KEYS):
            if _identity(digest) == identity and self._client.exists(keys.api_key(digest)):
                self._client.hsetnx(keys.api_key(digest), "revoked_at", f"{time.time():.3f}")
                self._client.expire(keys.api_key(digest), REVOKED_LIFE_S)
                return _key(digest, self._client.hgetall(keys.api_key(digest)))
        return None

    def tenant(self, name: str) -> Tenant:
        """Read what a tenant may do; one that was never set up has no limits."""
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
        """Change what a tenant may do; None leaves as it is, a limit of 0 is lifted."""
        self._lanes.set_group("edits", name, limit=in_flight_limit or None, weight=weight)
        if in_flight_limit == 0:
            self._client.hdel(keys.lane("edits", "limits"), name)
        self._ledger.set_limits(name, budget=budget, backlog_limit=backlog_limit)
        if share_duplicates is not None:
            self._client.hset(keys.SHARING, name, int(share_duplicates))
        return self.tenant(name)


def digest_of(secret: str) -> str:
    """Hash a secret. It holds 32 random bytes, so that a plain hash is as good as a slow one."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _identity(digest: str) -> str:
    return f"key_{digest[:16]}"


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
