"""
The audit. Each change by hand to jobs, gates, keys or receivers adds one line. An answer of the endpoint that closes or
opens an account also adds a line. Lines are kept for 90 days.

Only `record` writes lines, and it accepts only the details in `DETAILS`. A line has ids, counts and queries, but no
secret, no prompt and no address.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

from retouch.store import keys
from retouch.store.redis_commands import AnyClient, Client
from retouch.sync_async import reply, sync_async

KEPT_S = 90 * 86_400
_IDS_MOST = 20
_TEXT_MOST = 2_000
_LINES_AT_ONCE = 1_000
LOOKED_AT_MOST = 20_000
"""The most lines that one search looks at."""

Surface = Literal["cli", "http", "python", "console", "worker"]
DETAILS = frozenset(
    {
        "ids",
        "id_count",
        "query",
        "tenant",
        "lane",
        "bulk",
        "preview",
        "outcome",
        "outcomes",
        "role",
        "name",
        "priority",
        "limits",
        "state",
    }
)
"""The names of the details that a line may have."""
CHANGES = frozenset({"cancelled", "requested", "replayed", "redelivered", "approved", "unapproved"})
"""Outcomes of a move of a single job or delivery that changed something."""
LINES_OF_PRODUCER_MOST = 10_000
"""The most lines that one producer's key may cause in a day. One more line then says that later lines are missing."""


@dataclass(frozen=True, slots=True)
class Actor:
    """
    Who makes a change, and through which surface.

    An API key has an id (`key`), a name and a role. A person who uses Redis directly has no `key` and no `role`. A
    worker is the actor when an answer of the endpoint closes or opens an account. It has no `key` and no `role` either;
    its `name` is its host and process.
    """

    surface: Surface
    key: str = ""
    name: str = ""
    role: str = ""

    @property
    def label(self) -> str:
        """Return the name of the API key, or its id if it has no name; without a key, the surface."""
        return self.name or self.key or self.surface


class AuditLine(NamedTuple):
    """
    One change. `id` is the cursor of the line in the log; `at` is in Unix seconds.

    `tenant` owns the changed objects; it is empty if they belong to all tenants or to none. `details` has `ids` or
    `query`, `preview`, `outcome` and so on.
    """

    id: str
    at: float
    action: str
    actor: Actor
    tenant: str
    details: dict[str, object]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """
    A filter for lines; an empty field matches every line. Instants are in Unix seconds, `until` is exclusive.

    `action` is an action or its first part: `bulk` matches `bulk.cancel`. `actor` is the id or the name of a key, or a
    surface. `tenant` is the owner of what was changed.
    """

    since: float = 0.0
    until: float = float("inf")
    action: str = ""
    actor: str = ""
    tenant: str = ""

    def matches(self, line: AuditLine) -> bool:
        """
        Return whether a line has the filter's action, actor and tenant.

        The filter's instants are not compared, since they limit which lines are read.
        """
        by = line.actor
        return (
            (not self.action or line.action == self.action or line.action.startswith(f"{self.action}."))
            and (not self.actor or self.actor in (by.key, by.name, by.surface))
            and self.tenant in ("", line.tenant)
        )


EVERY_LINE = AuditFilter()


class AuditPage(NamedTuple):
    """Lines, newest first. `following` is the id after which the next page begins, or None on the last page."""

    lines: list[AuditLine]
    following: str | None


class SharedAuditLog:
    """Writes to the stream of changes in Redis, from threads and from event loops."""

    def __init__(self, client: AnyClient) -> None:
        self._client = client

    @sync_async
    async def record(self, actor: Actor, action: str, tenant: str = "", /, **details: object) -> None:
        """
        Write one line; raise `ValueError` for a detail that is not in `DETAILS`.

        Failure policy: callers make the change first. If the line cannot be written, the error reaches the caller
        although the change was made.
        """
        if unknown := details.keys() - DETAILS:
            raise ValueError(f"details: expected some of {', '.join(sorted(DETAILS))}, got {', '.join(unknown)}")
        ids = details.get("ids")
        if isinstance(ids, list) and len(ids) > _IDS_MOST:
            details |= {"ids": ids[:_IDS_MOST], "id_count": len(ids)}
        bounded = {name: value[:_TEXT_MOST] if isinstance(value, str) else value for name, value in details.items()}
        fields: dict[str, str] = {
            "action": action,
            "surface": actor.surface,
            "key": actor.key,
            "name": actor.name,
            "role": actor.role,
            "tenant": tenant[:_TEXT_MOST],
            "details": json.dumps(bounded, separators=(",", ":")),
        }
        if actor.role == "producer" and not await self._has_room(actor.key, fields):
            return
        oldest = f"{int((time.time() - KEPT_S) * 1_000)}"
        await reply(self._client.xadd(keys.AUDIT, fields, minid=oldest, approximate=True))

    @sync_async
    async def record_move(self, actor: Actor, action: str, item: str, outcome: str) -> None:
        """Write a line about one job or delivery, and whose it is, if `outcome` says that something was changed."""
        if outcome not in CHANGES:
            return
        lane = "deliveries" if action.startswith("delivery.") else "edits"
        spec = await reply(self._client.get(keys.spec(lane, item)))
        tenant = json.loads(spec)["tenant"] if spec else ""
        await self.record.awaited(actor, action, tenant, ids=[item], outcome=outcome)

    async def _has_room(self, key: str, fields: dict[str, str]) -> bool:
        """
        Count one more line for a producer's key; return whether the line may be written.

        If it is the first line above the bound, change `fields` into a line `audit.capped`.
        """
        counter = keys.audit_count(key, int(time.time() // 86_400))
        pipe = self._client.pipeline(transaction=True)
        pipe.execute_command("INCR", counter)
        pipe.execute_command("EXPIRE", counter, 2 * 86_400)
        count, _ = await reply(pipe.execute())
        if count == LINES_OF_PRODUCER_MOST + 1:
            fields |= {"action": "audit.capped", "details": "{}"}
        return int(count) <= LINES_OF_PRODUCER_MOST + 1


class AuditLog(SharedAuditLog):
    """Writes to and reads from the stream of changes in Redis, on a client for threads."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._blocking_client = client

    def lines(self, wanted: AuditFilter = EVERY_LINE, limit: int = 100) -> list[AuditLine]:
        """Return up to `limit` matching lines, newest first, however many lines must be looked at for them."""
        found, following = self.search(wanted, limit=limit)
        while following and len(found) < limit:
            page, following = self.search(wanted, following, limit - len(found))
            found += page
        return found

    def search(self, wanted: AuditFilter, before: str = "", limit: int = 100) -> AuditPage:
        """
        Return up to `limit` matching lines that are older than the line `before`, newest first.

        A page ends early after 20,000 lines were looked at; the next page then begins at `following`.
        """
        found, looked_at = list[AuditLine](), 0
        while looked_at < LOOKED_AT_MOST:
            lines = self._read(wanted, before, _LINES_AT_ONCE)
            for line in lines:
                if wanted.matches(line):
                    if len(found) == limit:
                        return AuditPage(found, found[-1].id)
                    found.append(line)
            if len(lines) < _LINES_AT_ONCE:
                return AuditPage(found, None)
            before, looked_at = lines[-1].id, looked_at + len(lines)
        return AuditPage(found, before)

    def _read(self, wanted: AuditFilter, before: str, count: int) -> list[AuditLine]:
        if not before and wanted.until < float("inf"):
            before = f"{max(1, math.ceil(wanted.until * 1_000))}-0"
        oldest = max(wanted.since, time.time() - KEPT_S)
        newest = f"({before}" if before else "+"
        entries = self._blocking_client.xrevrange(keys.AUDIT, newest, f"{int(oldest * 1_000)}", count=count)
        return [_line(identity, fields) for identity, fields in entries]


def _line(identity: str, fields: Mapping[str, str]) -> AuditLine:
    actor = Actor(cast(Surface, fields["surface"]), fields["key"], fields["name"], fields["role"])
    at = int(identity.partition("-")[0]) / 1_000
    return AuditLine(identity, at, fields["action"], actor, fields["tenant"], json.loads(fields["details"]))
