"""The interface through which clients use bulk runs, over Redis or over the gateway."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from retouch.errors import UnknownJob
from retouch.store.bulk import BulkRun, Preview


class BulkAsk(NamedTuple):
    """
    A request for a bulk run. If `query` names no tenant, the run acts on the jobs of `tenant`; None means all tenants.
    """

    action: str
    query: str
    tenant: str | None
    priority: str | None = None
    dead: bool = False
    idempotency_key: str = ""


def run_not_on_record(run: str) -> UnknownJob:
    """Return the error for a bulk run that is not on record."""
    return UnknownJob(f"bulk run {run} is not on record: it never was, or its 90 days are over")


class BulkTransport(Protocol):
    """Calls about bulk runs; `EditQueue` documents each. Calls with an id raise `UnknownJob` for an unknown id."""

    async def preview(self, ask: BulkAsk) -> Preview:
        """Return how many jobs a run would act on, and what that would cost; change nothing."""

    async def start(self, ask: BulkAsk) -> BulkRun:
        """Create a run and return it; an idempotency key that was used before returns the earlier run."""

    async def find(self, run: str) -> BulkRun:
        """Return one run."""

    async def page(self, limit: int) -> list[BulkRun]:
        """Return up to `limit` runs, newest first."""

    async def abort(self, run: str) -> str:
        """Abort a run; return `aborted`, or `final` if the run was over."""
