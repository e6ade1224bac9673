"""
Bulk runs in Redis: one action on all jobs that a query names, as a job of its own with preview, progress and history.

A run is put on record with its query frozen: jobs that are enqueued later are not meant. Workers carry it out in chunks
(`retouch.store.bulk_chunks`), one worker at a time under a lease.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast, get_args

from retouch.errors import IdempotencyConflict, InvalidEdit, QueueFull
from retouch.options import Priority
from retouch.query import JobQuery, parse_query
from retouch.store import keys
from retouch.store.audit import Actor, AuditLog
from retouch.store.pagination import IndexCursor, cursor_from
from retouch.store.redis_commands import Client, Script, Value
from retouch.store.scripts import Message, fields_of, load, messages_of

BulkAction = Literal["cancel", "replay", "redeliver", "priority"]
BulkState = Literal["queued", "running", "done", "aborted"]
ACTIONS: tuple[BulkAction, ...] = get_args(BulkAction)
PRIORITIES = get_args(Priority)

OPEN_MOST = 5
"""How many runs of one tenant may be open at once."""
KEPT_MOST = 200
"""How many runs of one tenant are kept, the oldest being forgotten first."""
ITEMS_AT_ONCE = 10
"""How many items one script call acts on: a few milliseconds, in which Redis answers nobody."""
_ASK_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Preview:
    """
    What a run would do: so many jobs (with `redeliver` deliveries too), of which `resume_free` go on from an answer
    that is paid for; the others may make `calls_most` calls. `is_complete` is False where counting stopped at 100,000
    jobs.
    """

    jobs: int = 0
    deliveries: int = 0
    resume_free: int = 0
    calls_most: int = 0
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """
    An action on all jobs that fit a query. `priority` is for that action alone; `dead` bounds a redelivery to those
    deliveries that gave up. `text` is the query as it was asked for, by which a repeated request is recognized.
    """

    action: BulkAction
    query: JobQuery
    priority: str = ""
    dead: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class BulkRun:
    """
    A bulk run on record. Instants in Unix seconds.

    `tenant` is whose key asked for it, `matched` the jobs that were looked at so far, `outcomes` how many items came to
    what: `replayed`, `cancelled`, `requested`, `redelivered`, `changed` and so on. `left` is what the present chunk
    still has.
    """

    id: str
    tenant: str
    state: BulkState
    request: BulkRequest
    actor: Actor
    preview: Preview
    created_at: float
    started_at: float | None
    finished_at: float | None
    matched: int
    outcomes: dict[str, int]
    cursor: IndexCursor | None = None
    fence: int = 0
    left: int = field(default=0)

    @property
    def is_over(self) -> bool:
        """True when nothing more will be done."""
        return self.state in ("done", "aborted")

    @property
    def tenants_text(self) -> str:
        """Whose jobs the query names, as the audit has it; empty for all."""
        return ",".join(self.request.query.tenants)

    @property
    def acted_on(self) -> int:
        """How many items were acted on so far, whatever came of it."""
        return sum(self.outcomes.values())


def read_request(
    action: str, text: str, priority: str | None, dead: bool, now: float, narrow: Callable[[JobQuery], JobQuery]
) -> BulkRequest:
    """
    Read what is asked for; `narrow` bounds the query to what the caller may see. Raises `InvalidEdit`, `InvalidQuery`.

    An empty query is refused: it would mean every job on record.
    """
    faults = list[tuple[str, str]]()
    if action not in ACTIONS:
        faults.append(("action", f"expected {', '.join(ACTIONS)}, got {action[:40]!r}"))
    if action == "priority" and priority not in PRIORITIES:
        faults.append(("priority", f"expected {', '.join(PRIORITIES)}, got {str(priority)[:40]!r}"))
    if action != "priority" and priority:
        faults.append(("priority", "is for the action priority alone"))
    if dead and action != "redeliver":
        faults.append(("dead", "is for the action redeliver alone"))
    if not text.strip():
        faults.append(("query", "expected at least one term, such as since:30d for the jobs of thirty days"))
    query = narrow(parse_query(text, now))
    if faults:
        raise InvalidEdit(faults)
    return BulkRequest(cast(BulkAction, action), query, priority or "", dead, text)


class BulkStore:
    """The bulk runs in Redis."""

    def __init__(self, client: Client) -> None:
        self._client, self._audit = client, AuditLog(client)
        names = ("bulk_create", "bulk_take", "bulk_plan", "bulk_move", "bulk_abort", "bulk_release")
        self._scripts: dict[str, Script[Any]] = {name: load(client, name) for name in names}

    def now(self) -> float:
        """Return the instant on the clock of Redis before which the jobs of a run were enqueued, in Unix seconds."""
        seconds, micros = self._client.time()
        # The indexes round to milliseconds, also upwards: a job of this very millisecond is one of those before.
        return round(float(seconds) + float(micros) / 1e6, 3) + 0.001

    def create(
        self, request: BulkRequest, actor: Actor, tenant: str, count: Callable[[], Preview], idempotency_key: str = ""
    ) -> BulkRun:
        """
        Put a run on record; a worker begins it within seconds. The query is frozen at this instant, and then previewed
        by `count`.

        Raises `QueueFull` when the tenant has five open runs, and `IdempotencyConflict` for a key that came with
        another request.
        """
        run = f"bk_{_digest(tenant, idempotency_key)}" if idempotency_key else f"bk_{secrets.token_hex(12)}"
        if idempotency_key and (earlier := self._known(run, request)):
            return earlier
        frozen, preview = str(request.query.frozen(self.now())), count()
        asked: dict[str, Value] = {
            "action": request.action,
            "query": frozen,
            "priority": request.priority,
            "dead": int(request.dead),
            "actor": json.dumps(asdict(actor)),
            "preview": json.dumps(asdict(preview)),
            "fingerprint": _fingerprint(request),
        }
        values = [value for pair in asked.items() for value in pair]
        word = self._scripts["bulk_create"](args=[run, tenant, OPEN_MOST, KEPT_MOST, *values])
        if word == "full":
            raise QueueFull(tenant, "bulk", 1, _ASK_AGAIN_S)
        found = self._known(run, request)
        assert found is not None
        if word == "new":
            details = {"bulk": run, "query": frozen, "preview": asdict(preview)}
            self._audit.record(actor, f"bulk.{request.action}", found.tenants_text, **details)
        return found

    def _known(self, run: str, request: BulkRequest) -> BulkRun | None:
        """Return the run that an idempotency key leads to; raises `IdempotencyConflict` for another request."""
        fingerprint = self._client.hget(keys.bulk(run), "fingerprint")
        if fingerprint and fingerprint != _fingerprint(request):
            raise IdempotencyConflict("the idempotency key was used for another bulk run")
        return self.find(run)

    def find(self, run: str) -> BulkRun | None:
        """Read one run, or None when it is not on record."""
        raw = self._client.hgetall(keys.bulk(run))
        return _run(run, raw) if raw.get("action") else None

    def page(self, tenant: str, count: int) -> list[BulkRun]:
        """Read the newest runs of one tenant, or of all for ""."""
        ids = self._client.zrevrange(keys.bulk_runs(tenant), 0, count - 1)
        with self._client.pipeline(transaction=False) as pipe:
            for run in ids:
                pipe.hgetall(keys.bulk(run))
            return [_run(run, raw) for run, raw in zip(ids, pipe.execute(), strict=True) if raw.get("action")]

    def abort(self, run: str, actor: Actor) -> str:
        """Abort a run: `aborted`, `final` when it was over, or `unknown`. What it did stays done."""
        word: str = self._scripts["bulk_abort"](args=[run])
        found = self.find(run)
        if word == "aborted" and found:
            self._audit.record(actor, "bulk.abort", found.tenants_text, bulk=run, outcomes=found.outcomes)
        return word

    def take(self, lease_s: float) -> BulkRun | None:
        """Take the lease of the run that has waited longest, or None when none waits."""
        answer = self._scripts["bulk_take"](args=[lease_s])
        return _run(answer[0], fields_of(answer[2:]), left=int(answer[1])) if answer else None

    def plan(self, run: BulkRun, matched: int, items: Sequence[str], following: IndexCursor | None) -> str:
        """Put the next chunk on record: `ok`; `done`, there was nothing left; or `stale`, the lease is lost."""
        cursor = str(following) if following else ""
        word: str = self._scripts["bulk_plan"](args=[run.id, run.fence, matched, cursor, *items])
        return word

    def move(self, run: BulkRun, lease_s: float, retention_s: float) -> tuple[str, list[Message]]:
        """
        Act on up to ten items: `running`; `planning`, the chunk is empty; `done`; or `stale`, the lease is lost or the
        run was aborted. Gives the messages to send.
        """
        word, messages = self._scripts["bulk_move"](args=[run.id, run.fence, ITEMS_AT_ONCE, lease_s, retention_s])
        return word, messages_of(messages)

    def note_done(self, run: BulkRun) -> None:
        """Write the outcomes of a run that is over into the audit, as done by who asked for it."""
        if found := self.find(run.id):
            self._audit.record(found.actor, "bulk.done", found.tenants_text, bulk=run.id, outcomes=found.outcomes)

    def release(self, run: BulkRun) -> None:
        """Let other runs have their turn."""
        self._scripts["bulk_release"](args=[run.id, run.fence])


def _digest(*texts: str) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:24]


def _fingerprint(request: BulkRequest) -> str:
    return _digest(request.action, request.text, request.priority, str(request.dead))


def _run(run: str, raw: Mapping[str, str], left: int = 0) -> BulkRun:
    outcomes = {name.partition(" ")[2]: int(count) for name, count in raw.items() if name.startswith("outcome ")}
    return BulkRun(
        id=run,
        tenant=raw["tenant"],
        state=cast(BulkState, raw["state"]),
        request=BulkRequest(
            cast(BulkAction, raw["action"]), parse_query(raw["query"], 0.0), raw["priority"], raw["dead"] == "1"
        ),
        actor=Actor(**json.loads(raw["actor"])),
        preview=Preview(**json.loads(raw["preview"])),
        created_at=float(raw["created_at"]),
        started_at=float(raw["started_at"]) if "started_at" in raw else None,
        finished_at=float(raw["finished_at"]) if "finished_at" in raw else None,
        matched=int(raw.get("matched", 0)),
        outcomes=dict(sorted(outcomes.items())),
        cursor=cursor_from(raw["cursor"]) if raw.get("cursor") else None,
        fence=int(raw["fence"]),
        left=left,
    )
