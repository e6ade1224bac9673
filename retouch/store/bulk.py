"""
Bulk runs in Redis. A run is one action on all jobs that match a query; its record has a preview and the progress.

The query is frozen when the run is created: it does not match jobs that are enqueued later. Workers carry out a run in
chunks (`retouch.store.bulk_chunks`); only one worker at a time has the run's lease. The items of a chunk are ids of
jobs; if the action is `redeliver`, they are ids of deliveries.
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
"""How many runs of one tenant are kept; if there are more, the oldest runs are deleted."""
ITEMS_AT_ONCE = 10
"""How many items one script call acts on. A call takes a few milliseconds, in which Redis answers nobody else."""
_ASK_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Preview:
    """
    The number of jobs on which a run would act, and the most calls that the run may cost.

    `deliveries` is for the action `redeliver`: how many deliveries are sent again. Three fields are for `replay`:
    `resume_free` is the number of jobs whose answer is paid for already. `calls_most` is how many calls all other jobs
    may make together, and `amount_most` is the highest cost of these calls. For other actions these fields are 0.
    `is_complete` is False if counting stopped at 100,000 jobs or after 10 s.
    """

    jobs: int = 0
    deliveries: int = 0
    resume_free: int = 0
    calls_most: int = 0
    amount_most: float = 0.0
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """
    An action on all jobs that match a query.

    Only the action `priority` has a `priority`. With `dead`, the action `redeliver` sends only dead letters again.
    `text` is the query as the caller wrote it; requests with the same idempotency key must have the same `text`.
    """

    action: BulkAction
    query: JobQuery
    priority: str = ""
    dead: bool = False
    text: str = ""


@dataclass(frozen=True, slots=True)
class BulkRun:
    """
    A bulk run on record. Instants are in Unix seconds.

    `tenant` is the tenant whose key started the run. `matched` counts the jobs that were read so far. `outcomes` counts
    items by outcome: `replayed`, `cancelled`, `requested`, `redelivered`, `changed` and so on. `left` counts the items
    that the present chunk still has. The next chunk begins at `cursor`. `fence` is the number of the lease.
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
        """Whether the run is done or aborted."""
        return self.state in ("done", "aborted")

    @property
    def tenants_text(self) -> str:
        """The tenants that the query names, separated by commas, for audit lines; empty if it names none."""
        return ",".join(self.request.query.tenants)

    @property
    def acted_on(self) -> int:
        """The number of items that the run has acted on so far, with any outcome."""
        return sum(self.outcomes.values())


def read_request(
    action: str, text: str, priority: str | None, dead: bool, now: float, narrow: Callable[[JobQuery], JobQuery]
) -> BulkRequest:
    """
    Return a checked request; `narrow` limits the query to the jobs that the caller may see.

    Raise `InvalidQuery` for a wrong query, and `InvalidEdit` for other faults. An empty query is a fault, since it
    would match every job on record. Ages in the query count back from `now` (Unix seconds).
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
    """Writes and reads the bulk runs in Redis, and writes a line of the audit when a run begins, ends or is aborted."""

    def __init__(self, client: Client) -> None:
        self._client, self._audit = client, AuditLog(client)
        names = ("bulk_create", "bulk_take", "bulk_plan", "bulk_move", "bulk_abort", "bulk_release")
        self._scripts: dict[str, Script[Any]] = {name: load(client, name) for name in names}

    def now(self) -> float:
        """
        Return the instant at which to freeze a query, in Unix seconds on the clock of Redis.

        All jobs that are on record now were enqueued before this instant.
        """
        seconds, micros = self._client.time()
        # The indexes round to milliseconds, also upwards. One more millisecond includes the jobs of the present one.
        return round(float(seconds) + float(micros) / 1e6, 3) + 0.001

    def create(
        self, request: BulkRequest, actor: Actor, tenant: str, count: Callable[[], Preview], idempotency_key: str = ""
    ) -> BulkRun:
        """
        Create a run and return it; a worker begins the run within seconds.

        The query is frozen before `count` makes the preview. If the idempotency key is known, the earlier run is
        returned. Raise `IdempotencyConflict` if the key was used for another request, and `QueueFull` if the tenant has
        five open runs.
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
        """
        Return a run, or None if it is not on record.

        Raise `IdempotencyConflict` if the run was created for another request.
        """
        fingerprint = self._client.hget(keys.bulk(run), "fingerprint")
        if fingerprint and fingerprint != _fingerprint(request):
            raise IdempotencyConflict("the idempotency key was used for another bulk run")
        return self.find(run)

    def find(self, run: str) -> BulkRun | None:
        """Return one run, or None if it is not on record."""
        raw = self._client.hgetall(keys.bulk(run))
        return _run(run, raw) if raw.get("action") else None

    def page(self, tenant: str, count: int) -> list[BulkRun]:
        """Return up to `count` runs of one tenant, newest first; an empty `tenant` means all tenants."""
        return self.records(self._client.zrevrange(keys.bulk_runs(tenant), 0, count - 1))

    def records(self, ids: Sequence[str]) -> list[BulkRun]:
        """Return the runs with these ids, in order; leave out those that are not on record."""
        with self._client.pipeline(transaction=False) as pipe:
            for run in ids:
                pipe.hgetall(keys.bulk(run))
            return [_run(run, raw) for run, raw in zip(ids, pipe.execute(), strict=True) if raw.get("action")]

    def abort(self, run: str, actor: Actor) -> str:
        """
        Abort a run; return `aborted`, `final` if the run was over, or `unknown`.

        What the run has already done is not undone.
        """
        word: str = self._scripts["bulk_abort"](args=[run])
        found = self.find(run)
        if word == "aborted" and found:
            self._audit.record(actor, "bulk.abort", found.tenants_text, bulk=run, outcomes=found.outcomes)
        return word

    def take(self, lease_s: float) -> BulkRun | None:
        """Take a lease on the run that has waited longest, and return the run; return None if no run waits."""
        answer = self._scripts["bulk_take"](args=[lease_s])
        return _run(answer[0], fields_of(answer[2:]), left=int(answer[1])) if answer else None

    def plan(self, run: BulkRun, matched: int, items: Sequence[str], following: IndexCursor | None) -> str:
        """
        Write the next chunk of a run, for which `matched` jobs were read. The chunk after it begins at `following`.

        Return `ok`, `done` if nothing was left, or `stale` if the lease is lost or the run was aborted.
        """
        cursor = str(following) if following else ""
        word: str = self._scripts["bulk_plan"](args=[run.id, run.fence, matched, cursor, *items])
        return word

    def move(self, run: BulkRun, lease_s: float, retention_s: float) -> tuple[str, list[Message]]:
        """
        Act on up to ten items of the run's present chunk; return a word, and the messages that the caller must send.

        The word is `running` if the chunk has more items, `planning` if the chunk is empty, `done` if the run is over,
        or `stale` if the lease is lost or the run was aborted.
        """
        word, messages = self._scripts["bulk_move"](args=[run.id, run.fence, ITEMS_AT_ONCE, lease_s, retention_s])
        return word, messages_of(messages)

    def note_done(self, run: BulkRun) -> None:
        """Write the outcomes of a finished run into the audit, with the actor who started the run."""
        if found := self.find(run.id):
            self._audit.record(found.actor, "bulk.done", found.tenants_text, bulk=run.id, outcomes=found.outcomes)

    def release(self, run: BulkRun) -> None:
        """End the lease of a run, so that another run may have its turn."""
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
