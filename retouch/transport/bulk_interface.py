"""What a client asks of the queue about bulk runs, whichever way it reaches it."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from retouch.errors import UnknownJob
from retouch.store.bulk import BulkRun, Preview


class BulkAsk(NamedTuple):
    """What a bulk run is to do: `tenant` is whose jobs are meant where the query names nobody, None for all."""

    action: str
    query: str
    tenant: str | None
    priority: str | None = None
    dead: bool = False
    idempotency_key: str = ""


def run_not_on_record(run: str) -> UnknownJob:
    """Return the error for a bulk run that is not there."""
    return UnknownJob(f"bulk run {run} is not on record: it never was, or its 90 days are over")


class BulkTransport(Protocol):
    """Bulk runs, as a client sees them; `EditQueue` documents each call. Those about one run raise `UnknownJob`."""

    async def preview(self, ask: BulkAsk) -> Preview:
        """Count what a run would do."""

    async def start(self, ask: BulkAsk) -> BulkRun:
        """Put a run on record."""

    async def find(self, run: str) -> BulkRun:
        """Read a run."""

    async def page(self, limit: int) -> list[BulkRun]:
        """List runs, newest first."""

    async def abort(self, run: str) -> str:
        """Abort a run."""
