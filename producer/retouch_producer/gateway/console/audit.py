"""The page of the audit: who changed what, newest first, with filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel

from retouch.store.audit import AuditLine
from retouch.store.redis_client import clear_errors
from retouch_producer.gateway.console.rendering import page
from retouch_producer.gateway.console.routing import console_router
from retouch_producer.gateway.console.visitors import Reading, Visitor
from retouch_producer.gateway.dependencies import Injected
from retouch_producer.gateway.routes.audit import audit_cursor, audit_filter

ROWS, IDS_MOST = 50, 5
SUGGESTED = (
    *("edit", "edit.cancel", "edit.replay", "delivery.redeliver", "bulk", "bulk.cancel", "bulk.replay"),
    *("bulk.redeliver", "bulk.priority", "bulk.abort", "lane", "account", "key", "tenant", "receiver"),
)
"""Actions, and first parts of actions, that the filter suggests."""
_PREVIEW = {"jobs": "jobs", "deliveries": "deliveries", "resume_free": "resume free", "calls_most": "calls at most"}

router = console_router()


class AuditFilters(BaseModel):
    """The filters in the query of the page's address. An empty filter matches everything."""

    action: str = ""
    actor: str = ""
    tenant: str = ""
    since: str = ""
    until: str = ""
    cursor: str = ""

    def address(self, **changes: str) -> str:
        """
        Return the address of the page after `changes` to the filters: the first page, unless `changes` has a cursor.
        """
        given = {name: value for name, value in {**self.model_dump(), "cursor": "", **changes}.items() if value}
        return f"/console/audit?{urlencode(given)}" if given else "/console/audit"

    @property
    def is_narrowed(self) -> bool:
        """Return whether any filter is set."""
        return any((self.action, self.actor, self.tenant, self.since, self.until))


@dataclass(frozen=True, slots=True)
class Detail:
    """One detail of a line of the audit. The page shows ids in `text` as links, and a query as code."""

    name: str
    text: str


@router.get("/audit")
def show_audit(
    request: Request,
    visitor: Annotated[Visitor, Depends(Reading("/v1/audit"))],
    dependencies: Injected,
    filters: Annotated[AuditFilters, Query()],
) -> Response:
    """Show a page of changes, newest first."""
    wanted = audit_filter(filters.since, filters.until, filters.action, filters.actor, filters.tenant)
    with clear_errors():
        lines, following = dependencies.audit.search(wanted, audit_cursor(filters.cursor), ROWS)
    return page(
        request,
        "audit.html",
        visitor,
        filters=filters,
        rows=[(line, list(details_of(line))) for line in lines],
        following=filters.address(cursor=following) if following else "",
        suggested=SUGGESTED,
    )


def details_of(line: AuditLine) -> Iterator[Detail]:
    """Yield the details of a line of the audit, the most important first. Time, actor and action are left out."""
    order = ("bulk", "ids", "query", "lane", "outcome", "outcomes", "preview")
    names = sorted(line.details, key=lambda name: order.index(name) if name in order else len(order))
    for name in names:
        value = line.details[name]
        if name == "ids" and isinstance(value, list):
            shown = value[:IDS_MOST]
            more = int(str(line.details.get("id_count", len(value)))) - len(shown)
            yield Detail("", ", ".join(map(str, shown)) + (f" and {more:,} more" if more else ""))
        elif name != "id_count":
            yield Detail("" if name in ("bulk", "query", "outcome", "outcomes") else name, _text(name, value))


def _text(name: str, value: object) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    if name == "outcomes":
        return ", ".join(f"{count:,} {outcome}" for outcome, count in value.items()) or "nothing to do"
    if name == "preview":
        counts = {word: value.get(part, 0) for part, word in _PREVIEW.items()}
        return ", ".join(f"{count:,} {word}" for word, count in counts.items() if count or word == "jobs")
    limits = {str(part).replace("_", " "): str(one or "no limit") for part, one in sorted(value.items())}
    return ", ".join(f"{part} {limit.removesuffix('.0')}" for part, limit in limits.items())
