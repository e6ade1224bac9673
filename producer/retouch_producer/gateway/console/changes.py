"""Records in the audit the changes that were made through the console."""

from __future__ import annotations

from retouch.store.audit import Actor, AuditLog
from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey
from retouch_producer.gateway.console.visitors import Visitor
from retouch_producer.gateway.dependencies import Dependencies


def actor_of(key: ApiKey) -> Actor:
    """Return the owner of an API key as an actor of the audit, with the surface `console`."""
    return Actor("console", key.id, key.name, key.role)


def record_change(
    dependencies: Dependencies, visitor: Visitor, action: str, tenant: str = "", **details: object
) -> None:
    """Write one line to the audit. An action has the same name on every surface. Call this after the change."""
    with clear_errors():
        AuditLog(dependencies.client).record(actor_of(visitor.key), action, tenant, **details)
