"""Writes changes that are made through the console to the audit."""

from __future__ import annotations

from retouch.store.audit import CHANGES, Actor, AuditLog
from retouch.store.redis_client import clear_errors
from retouch.store.tenants import ApiKey
from retouch_producer.gateway.console.visitors import Visitor
from retouch_producer.gateway.dependencies import Dependencies

_MOVES = {"cancel": "edit.cancel", "replay": "edit.replay", "redeliver": "delivery.redeliver"}
_NAMES = {**_MOVES, "rotate_receiver": "receiver.rotate", "set_limits": "tenant.limits"}
"""The names that the audit has for actions of the console: those that every surface writes."""


def actor_of(key: ApiKey) -> Actor:
    """Return who acts, as the audit has it."""
    return Actor("console", key.id, key.name, key.role)


def record_change(
    dependencies: Dependencies, visitor: Visitor, action: str, tenant: str = "", **details: object
) -> None:
    """
    Write one line of the audit, unless a single cancel, replay or redelivery changed nothing.

    `action` is an action of the console, or a name of the audit. Call this after the change was made.
    """
    if action in _MOVES and details.get("outcome") not in CHANGES:
        return
    with clear_errors():
        AuditLog(dependencies.client).record(actor_of(visitor.key), _NAMES.get(action, action), tenant, **details)
