"""Query parameters that several lists share: their limits, and their descriptions for OpenAPI."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from retouch_producer.gateway.schemas.edits import PAGE_MOST

Since = Annotated[str, Query(description="ISO 8601 time or Unix seconds; this instant is included.")]
Until = Annotated[str, Query(description="ISO 8601 time or Unix seconds; this instant is excluded.")]
TenantFilter = Annotated[
    str | None, Query(description="Only this tenant. Without it, a key of role ops sees all tenants.")
]
PageLimit = Annotated[int, Query(ge=1, le=PAGE_MOST, description="Most entries on one page.")]
PageCursor = Annotated[str, Query(description="`next_cursor` of the previous page.")]
