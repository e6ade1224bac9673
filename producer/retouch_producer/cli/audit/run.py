"""Prints the audit, which is the record of all changes and of who made them."""

from __future__ import annotations

import json

from retouch.events import iso
from retouch.store.audit import AuditFilter, AuditLine
from retouch.sync_async import run_sync
from retouch_producer.cli import parsing
from retouch_producer.cli.context import open_context
from retouch_producer.cli.render import print_table
from retouch_producer.documents import audit_document


def show_audit(
    since: str | None, until: str | None, action: str, actor: str, tenant: str, limit: int, *, as_json: bool
) -> None:
    """Print up to `limit` matching changes, newest first, as a table or as a JSON array."""
    wanted = AuditFilter(parsing.since(since), parsing.until(until), action.strip(), actor.strip(), tenant.strip())
    with open_context() as context:
        lines = run_sync(context.transport.audit(wanted, limit))
    if as_json:
        print(json.dumps([audit_document(line) for line in lines], indent=2))
        return
    head = ("AT", "ACTION", "SURFACE", "KEY", "NAME", "ROLE", "TENANT", "DETAILS")
    print_table(head, [_row(line) for line in lines], "no change")


def _row(line: AuditLine) -> tuple[object, ...]:
    by = line.actor
    who = by.surface, by.key or "-", by.name or "-", by.role or "-"
    details = json.dumps(line.details, separators=(",", ":"))
    return iso(line.at), line.action, *who, line.tenant or "-", details
