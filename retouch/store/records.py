"""A job as the store holds it: its spec, its charges, the claim of a worker, and the whole record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Required, TypedDict

from pydantic import ConfigDict, TypeAdapter

from retouch.accounts import DEFAULT_ACCOUNT
from retouch.json_types import Document, JsonObject
from retouch.outcomes import Image, Processing, Ready
from retouch.policy import Attempt, RetryPolicy
from retouch.store.results import checkpoint_from, images_from
from retouch.store.scripts import Message, messages_of

# It takes a third of the json module's time. With `constants`, NaN and Infinity become texts that this module can read.
_write = TypeAdapter(JsonObject, config=ConfigDict(ser_json_inf_nan="constants")).dump_json
_PAID = frozenset({"succeeded", "processing"})
_FREE = frozenset({"refused", "failed"})


class PolicyChoices(TypedDict, total=False):
    """The parts of the retry policy that a caller chose; see `RetryPolicy`."""

    max_attempts: int
    max_charges: int


@dataclass(frozen=True, slots=True)
class JobSpec:
    """
    The request of one job; it never changes.

    `policy` has the caller's choices; the worker's settings decide the rest. `deadline_s` counts from enqueueing.
    `receivers` has ids. `callback` is `task@queue`, or empty. `input` is the blob name of our copy of the picture; it
    is empty if the gateway made no copy. `trace` is the `traceparent` of the span that enqueued the job, or empty.
    """

    tenant: str
    edit: JsonObject
    deadline_s: float
    policy: PolicyChoices = field(default_factory=PolicyChoices)
    receivers: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    callback: str = ""
    priority: str = "normal"
    tags: dict[str, str] = field(default_factory=dict)
    input: str = ""
    trace: str = ""

    def to_json(self) -> str:
        """Return the spec as JSON for the store."""
        # Empty and usual values are left out, since a million specs may be in the memory of Redis.
        given = {name: value for name in self.__slots__ if (value := getattr(self, name))}
        if self.priority == "normal":
            del given["priority"]
        return _write(given).decode()

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        """Return the spec that `to_json` wrote."""
        raw = json.loads(text)
        # JSON has lists in place of tuples.
        for name in ("receivers", "events"):
            raw[name] = tuple(raw.get(name, ()))
        return cls(**raw)

    def retry_policy(self, defaults: RetryPolicy) -> RetryPolicy:
        """Return the job's retry policy: `defaults`, with the caller's choices in place of some values."""
        return replace(defaults, **self.policy)


@dataclass(slots=True)
class Charge:
    """
    A POST that may have cost money. `kind` is the class of its answer, `""` while no answer is on record.

    `account` was called, at this `price`. With only one account, `price` is None: the settings have it.
    """

    fence: int
    intent_at: float
    kind: str = ""
    answered_at: float | None = None
    account: str = DEFAULT_ACCOUNT
    price: float | None = None

    @property
    def certain(self) -> bool:
        """Return whether the endpoint answered that it has done the work or is doing it."""
        return self.kind in _PAID

    @property
    def possible(self) -> bool:
        """Return whether the POST may have been billed: true unless the endpoint answered that it refused or failed."""
        return self.kind not in _FREE


def charges_from(raws: Sequence[Document]) -> list[Charge]:
    """Return the charges that the scripts wrote, from parsed JSON, in the same order: oldest first."""
    return [
        Charge(
            raw["fence"],
            raw["intent_at"],
            raw.get("class", ""),
            raw.get("answered_at"),
            raw.get("account", DEFAULT_ACCOUNT),
            raw.get("price"),
        )
        for raw in raws
    ]


@dataclass(slots=True)
class Claim:
    """
    A job whose lease a worker holds.

    `fence` is the number of the lease. A later claim has a higher number; then the store ignores decisions of this
    worker. `now_at` is the instant of the claim; all instants of a job are in Unix seconds on the clock of Redis.
    `reads_copy` is true once the endpoint could not read the caller's link and must get the link of our copy. `account`
    is the account to which the job was dispatched; `may_move` is true if there are several. `is_forbidden` is true once
    an account has answered the job with 403. `checkpoint_of` is the fence of the charge whose answer made the
    checkpoint.
    """

    job: str
    fence: int
    spec: JobSpec
    now_at: float
    created_at: float
    deadline_at: float
    number: int
    charges: list[Charge]
    checkpoint: Processing | Ready | None
    cancelled: bool
    crashes: int
    polls: int
    waits: int
    forgiven: int
    reads_copy: bool = False
    account: str = DEFAULT_ACCOUNT
    may_move: bool = False
    is_forbidden: bool = False
    checkpoint_of: int | None = None
    messages: Sequence[Message] = ()

    lane = "edits"

    @property
    def item(self) -> str:
        """Return the job's id. Claims of both lanes have this attribute."""
        return self.job

    @property
    def possible_charges(self) -> int:
        """Return how many POSTs may have been billed since the job was enqueued or last replayed."""
        return sum(charge.possible for charge in self.charges[self.forgiven :])

    @property
    def charge_in_work(self) -> Charge:
        """Return the charge that this attempt is about: the one that the endpoint is processing, else the latest."""
        # These are different charges if a late answer was adopted after a later POST had yielded nothing.
        in_work = [charge for charge in self.charges if charge.kind == "processing"]
        if not in_work or not isinstance(self.checkpoint, Processing):
            return self.charges[-1]
        return next((charge for charge in in_work if charge.fence == self.checkpoint_of), in_work[-1])

    def attempt(self) -> Attempt:
        """Return the facts about this attempt that `decide` needs."""
        return Attempt(self.number, self.possible_charges, self.polls, self.waits, self.deadline_at, self.may_move)


def claim_from(
    job: str, spec_text: str, now_at: float, state: Mapping[str, str], messages: list[str] | None = None
) -> Claim:
    """Return the claim for a reply of `claim.lua`; `state` is the job's state in Redis, `messages` are to be sent."""
    spec = JobSpec.from_json(spec_text)
    created_at = float(state["created_at"])
    return Claim(
        job=job,
        fence=int(state["fence"]),
        spec=spec,
        now_at=now_at,
        created_at=created_at,
        # A replay writes a new deadline. The deadline of a job that was not replayed counts from enqueueing.
        deadline_at=float(state.get("deadline_at") or created_at + spec.deadline_s),
        number=int(state.get("attempt", 0)),
        charges=charges_from(json.loads(state.get("charges", "[]"))),
        checkpoint=checkpoint_from(state.get("checkpoint", "")),
        cancelled=state.get("cancel") == "1",
        crashes=int(state.get("crashes", 0)),
        polls=int(state.get("polls", 0)),
        waits=int(state.get("waits", 0)),
        forgiven=int(state.get("forgiven", 0)),
        reads_copy=state.get("reads_copy") == "1",
        account=state.get("account", DEFAULT_ACCOUNT),
        may_move="account" in state,
        is_forbidden=state.get("forbidden") == "1",
        checkpoint_of=int(state.get("checkpoint_of") or 0) or None,
        messages=messages_of(messages or []),
    )


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed or is retried. `code` never changes its meaning; `retryable` is true if a replay may help."""

    code: str
    message: str
    retryable: bool


class TimelineEntry(TypedDict, total=False):
    """One event of a job, as the scripts write it. `sequence` is its position in the timeline, from 1."""

    sequence: Required[int]
    type: Required[str]
    at: Required[float]
    charges: list[Document]
    result: Document | None
    error: Document | None
    cancelled: str | None
    delay_s: float


def timeline_entry(sequence: int, text: str) -> TimelineEntry:
    """Parse one entry of a timeline, and add its sequence, which the text does not contain."""
    entry: TimelineEntry = json.loads(text)
    entry["sequence"] = sequence
    return entry


@dataclass(frozen=True, slots=True)
class JobRecord:
    """
    Everything on record about a job. Instants are in Unix seconds; `state` is a value of `JobState`.

    `images` are the stored images, in the order of the endpoint's answer. `resumable` is true while a paid answer is on
    record, from which the next attempt can go on without a POST. `account` is the account to which the job was
    dispatched last; with several accounts, `account_reason` says why. `worker` is the process that claimed it last.
    `approved_at` is None unless the result is approved; `approved_by` is the name of the API key, or the surface.
    """

    id: str
    spec: JobSpec
    state: str
    created_at: float
    started_at: float | None
    finished_at: float | None
    due_at: float | None
    attempt: int
    charges: tuple[Charge, ...]
    error: JobError | None
    images: tuple[Image, ...]
    cancelled: str
    cancel_requested: bool
    resumable: bool
    account: str = DEFAULT_ACCOUNT
    account_reason: str = ""
    worker: str = ""
    approved_at: float | None = None
    approved_by: str = ""


RECORD_FIELDS = (
    *("state", "priority", "created_at", "started_at", "finished_at", "due_at", "attempt", "charges", "error"),
    *("result", "cancelled", "cancel", "checkpoint", "account", "account_reason", "worker"),
    *("approved_at", "approved_by"),
)
"""The fields of a job's state that its record is made of. A raw answer is none of them: lists need not read it."""


def state_of(values: Sequence[str | None]) -> dict[str, str]:
    """Return a job's state from the values of `RECORD_FIELDS`, without the fields whose value is None."""
    return {name: value for name, value in zip(RECORD_FIELDS, values, strict=True) if value is not None}


def record_from(job: str, spec_text: str, created_at: str | None, state: Mapping[str, str]) -> JobRecord:
    """
    Return the record of a job from its parts in Redis.

    `created_at` is used for a job that was never dispatched: its `state` is still empty.
    """

    def instant(name: str) -> float | None:
        return float(state[name]) if state.get(name) else None

    spec = JobSpec.from_json(spec_text)
    return JobRecord(
        id=job,
        spec=replace(spec, priority=state["priority"]) if state.get("priority") else spec,
        state=state.get("state", "queued"),
        created_at=float(state.get("created_at") or created_at or 0),
        started_at=instant("started_at"),
        finished_at=instant("finished_at"),
        due_at=instant("due_at") if state.get("state") == "retrying" else None,
        attempt=int(state.get("attempt", 0)),
        charges=tuple(charges_from(json.loads(state.get("charges", "[]")))),
        error=JobError(**json.loads(state["error"])) if state.get("error") else None,
        images=images_from(json.loads(state["result"])) if state.get("result") else (),
        cancelled=state.get("cancelled", ""),
        cancel_requested=state.get("cancel") == "1",
        resumable=bool(state.get("checkpoint")),
        account=state.get("account", DEFAULT_ACCOUNT),
        account_reason=state.get("account_reason", ""),
        worker=state.get("worker", ""),
        approved_at=instant("approved_at"),
        approved_by=state.get("approved_by", ""),
    )
