"""The options of `retouch audit`."""

from __future__ import annotations

from typing import Annotated

import typer

from retouch_producer.cli.options import Json, Limit, Since, TenantFilter, Until

Action = Annotated[str, typer.Option("--action", help="Only this action, or this first part of actions, such as bulk.")]
OfActor = Annotated[str, typer.Option("--actor", help="Only changes by this key (its id or name) or surface.")]


def audit(
    action: Action = "",
    actor: OfActor = "",
    tenant: TenantFilter = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    json: Json = False,
) -> None:
    """List who changed what in the last 90 days, newest first."""
    from retouch_producer.cli.audit.run import show_audit

    show_audit(since, until, action, actor, tenant or "", limit, as_json=json)
