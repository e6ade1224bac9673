"""Writes changes that are made through the console to the audit."""

from __future__ import annotations

from retouch.store.audit import Actor, AuditLog
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.console.visitors import Action, Visitor
from retouch_producer.gateway.dependencies import Dependencies


def record_change(
    dependencies: Dependencies, visitor: Visitor, action: Action, tenant: str = "", **details: object
) -> None:
    """Write one line of the audit. Call this after the change was made."""
    key = visitor.key
    with clear_errors():
        AuditLog(dependencies.client).record(Actor("console", key.id, key.name, key.role), action, tenant, **details)
