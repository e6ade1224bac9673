"""Reads the entries of the feed after a cursor. The feed has the events of all jobs."""

from __future__ import annotations

from dataclasses import dataclass

from retouch.store.keys import FEED
from retouch.store.redis_commands import AnyClient
from retouch.sync_async import SyncAsync, reply

_BLOCK_MS = 1_000
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """One event in the feed: its `cursor`, and the job and sequence of the timeline entry that it points to."""

    cursor: str
    job: str
    sequence: int
    type: str
    tenant: str


@SyncAsync
async def read_page(client: AnyClient, after: str = "0", count: int = _PAGE) -> list[FeedEntry]:
    """
    Return up to `count` entries of the feed that follow a cursor, oldest first. The cursor `"0"` is before all entries.
    """
    return [_entry(cursor, raw) for cursor, raw in await reply(client.xrange(FEED, f"({after}", count=count))]


@SyncAsync
async def next_page(
    client: AnyClient, after: str, wait_s: float = _BLOCK_MS / 1000, count: int = _PAGE
) -> list[FeedEntry]:
    """
    Return up to `count` entries of the feed that follow a cursor, oldest first.

    If there are none yet, wait up to `wait_s` seconds for one, then return an empty list. `wait_s` must be below
    `redis_timeout_s`. A longer wait would look like a Redis that does not answer.
    """
    # BLOCK 0 would wait for ever.
    page = await reply(client.xread({FEED: after}, count=count, block=max(1, int(wait_s * 1000))))
    return [_entry(cursor, raw) for _, entries in page or () for cursor, raw in entries]


@SyncAsync
async def last_cursor(client: AnyClient) -> str:
    """Return the cursor of the newest event, or `"0"` if there is none."""
    newest = await reply(client.xrevrange(FEED, count=1))
    return newest[0][0] if newest else "0"


def _entry(cursor: str, raw: dict[str, str]) -> FeedEntry:
    return FeedEntry(cursor, raw["job"], int(raw["sequence"]), raw["type"], raw["tenant"])
