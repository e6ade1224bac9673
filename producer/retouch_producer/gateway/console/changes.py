"""Writes changes that are made through the console to the audit."""

from __future__ import annotations

from retouch.store.audit import Actor, AuditLog
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.console.visitors import Action, Visitor
from retouch_producer.gateway.dependencies import Dependencies


def actor_of(visitor: Visitor) -> Actor:
    """Return who makes a change, as the audit has it."""
    key = visitor.key
    return Actor("console", key.id, key.name, key.role)


def record_change(tools: Dependencies, visitor: Visitor, action: Action, tenant: str = "", **details: object) -> None:
    """Write one line of the audit. Call this after the change was made."""
    with clear_errors():
        AuditLog(tools.client).record(actor_of(visitor), action, tenant, **details)
