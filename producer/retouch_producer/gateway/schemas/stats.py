"""The response body of `/v1/stats`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from retouch.store.stats import Cost, StatsRow
from retouch_producer.gateway.schemas.edits import Instant, Schema


class Stats(Schema):
    """
    The statistics of a time range: `total` for all, and `data` with a row for each account or tenant if `by` is set.

    `today` is the cost of the present UTC day until now. `yesterday` is the cost of the whole day before.
    """

    since: Instant
    until: Instant
    by: Literal["account", "tenant"] | None
    total: StatsRow
    data: list[StatsRow]
    today: Cost
    yesterday: Cost
    oldest_waiting_s: float | None = Field(description="Age of the oldest next job of a tenant; null if none waits.")
