"""The options of `retouch audit`."""

from __future__ import annotations

from retouch_producer.cli.options import Json, Limit, Since


def audit(since: Since = None, limit: Limit = 50, json: Json = False) -> None:
    """List who changed what in the last 90 days, newest first."""
    from retouch_producer.cli.audit.run import show_audit

    show_audit(since, limit, as_json=json)
