"""What the store gives back about a job: the request, the charges, the claim that a worker holds, the whole record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from retouch.outcomes import Image, Processing, Ready
from retouch.policy import Attempt, RetryPolicy

# It takes a third of the json module's time; what that reads back as a number is written as one.
_write = TypeAdapter(dict[str, Any], config=ConfigDict(ser_json_inf_nan="constants")).dump_json
_PAID = frozenset({"succeeded", "processing"})
_FREE = frozenset({"refused", "failed"})


@dataclass(frozen=True, slots=True)
class JobSpec:
    """
    What was asked for, written once. `policy` holds what the caller chose; the rest is the worker's settings.

    `input` names our own copy of the picture, where the door kept one.
    """

    tenant: str
    edit: dict[str, Any]
    deadline_s: float
    policy: dict[str, Any] = field(default_factory=dict)
    receivers: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    callback: str = ""
    priority: str = "normal"
    tags: dict[str, str] = field(default_factory=dict)
    input: str = ""

    def to_json(self) -> str:
        """Write it for the store; what is empty or usual is left out, for a million of these may wait."""
        given = {name: value for name in self.__slots__ if (value := getattr(self, name))}
        if self.priority == "normal":
            del given["priority"]
        return _write(given).decode()

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        """Read what `to_json` wrote."""
        raw = json.loads(text)
        for name in ("receivers", "events"):
            raw[name] = tuple(raw.get(name, ()))
        return cls(**raw)

    def retry_policy(self, defaults: RetryPolicy) -> RetryPolicy:
        """Give the job's policy: the caller's choices over the defaults."""
        return replace(defaults, **self.policy)


@dataclass(slots=True)
class Charge:
    """A POST that may have cost money. `kind` is the class of its answer, `""` while there is none on record."""

    fence: int
    intent_at: float
    kind: str = ""
    answered_at: float | None = None

    @property
    def certain(self) -> bool:
        """True when the endpoint said that it did or does the work."""
        return self.kind in _PAID

    @property
    def possible(self) -> bool:
        """True unless the endpoint said that it did nothing."""
        return self.kind not in _FREE


def charges_from(raws: Sequence[Mapping[str, Any]]) -> list[Charge]:
    """Read the charges as the scripts write them, oldest first."""
    return [Charge(raw["fence"], raw["intent_at"], raw.get("class", ""), raw.get("answered_at")) for raw in raws]


def checkpoint_from(text: str) -> Processing | Ready | None:
    """Read what an attempt resumes from, or None where nothing paid is on record."""
    if not text:
        return None
    raw = json.loads(text)
    if raw.pop("kind") == "processing":
        return Processing(**raw)
    nested = {
        "urls": tuple(raw["urls"]),
        "more": tuple(tuple(urls) for urls in raw.get("more", ())),
        "brought": tuple((place, image and image_from(image)) for place, image in raw.get("brought", ())),
    }
    return Ready(**{**raw, **nested})


def image_from(raw: Mapping[str, Any]) -> Image:
    """Read one kept image as records hold it."""
    known = {name: raw[name] for name in Image.__dataclass_fields__}
    return Image(**{**known, "warnings": tuple(raw["warnings"])})


def images_in(result: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], ...]:
    """Return all images of a job's result, the first one first; empty without a result."""
    return (result, *result.get("others", ())) if result else ()


def result_json(image: Image, others: Sequence[Image] = ()) -> str:
    """Write a job's images as one result: the first, with the others inside it where there are some."""
    further = {"others": [asdict(one) for one in others]} if others else {}
    return json.dumps({**asdict(image), **further}, separators=(",", ":"))


def checkpoint_json(checkpoint: Processing | Ready) -> str:
    """Write what the next attempt resumes from."""
    kind = "processing" if isinstance(checkpoint, Processing) else "ready"
    return json.dumps({"kind": kind, **asdict(checkpoint)}, separators=(",", ":"))


@dataclass(slots=True)
class Claim:
    """
    A job in a worker's hands: what was asked, and where it stands.

    `fence` is the number of the lease: a later claim has a higher one, and then nothing this worker writes counts.
    `now_at` is the store's clock at the claim, in Unix seconds; all of a job's instants are on that clock.
    `reads_copy`: the endpoint could not read the caller's link, and is given that of our copy. `account` is the account
    of the endpoint that the job is on.
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
    account: str = "default"

    lane = "edits"

    @property
    def item(self) -> str:
        """The job's id, as its lane calls it."""
        return self.job

    @property
    def possible_charges(self) -> int:
        """POSTs that may have been billed since the job was enqueued or last replayed."""
        return sum(charge.possible for charge in self.charges[self.forgiven :])

    @property
    def charge_in_work(self) -> Charge:
        """
        The charge that the attempt is about: the one that the endpoint has in work, else the latest.

        They differ when a late answer was adopted behind a POST that came to nothing.
        """
        in_work = [charge for charge in self.charges if charge.kind == "processing"]
        return in_work[-1] if in_work and isinstance(self.checkpoint, Processing) else self.charges[-1]

    def attempt(self) -> Attempt:
        """Give the facts that a decision needs."""
        return Attempt(self.number, self.possible_charges, self.polls, self.waits, self.deadline_at)


def claim_from(job: str, spec_text: str, now_at: float, state: Mapping[str, str]) -> Claim:
    """Read a claim from the script's reply."""
    spec = JobSpec.from_json(spec_text)
    created_at = float(state["created_at"])
    return Claim(
        job=job,
        fence=int(state["fence"]),
        spec=spec,
        now_at=now_at,
        created_at=created_at,
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
    )


@dataclass(frozen=True, slots=True)
class JobRecord:
    """
    A job as anyone may read it. Instants in Unix seconds; `state` is a value of `JobState`.

    `resumable`: a paid answer is on record, so that the next attempt goes on from it and POSTs nothing. `result` is the
    first image as the store holds it; `images` are all of them.
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
    error: dict[str, Any] | None
    result: dict[str, Any] | None
    cancelled: str
    cancel_requested: bool
    resumable: bool

    @property
    def images(self) -> tuple[Image, ...]:
        """All kept images, in the order of the endpoint's answer; empty while there is none."""
        return tuple(image_from(one) for one in images_in(self.result))


def record_from(job: str, spec_text: str, created_at: str | None, state: Mapping[str, str]) -> JobRecord:
    """Read a record; a job that was never dispatched has no state yet."""

    def instant(name: str) -> float | None:
        return float(state[name]) if state.get(name) else None

    return JobRecord(
        id=job,
        spec=JobSpec.from_json(spec_text),
        state=state.get("state", "queued"),
        created_at=float(state.get("created_at") or created_at or 0),
        started_at=instant("started_at"),
        finished_at=instant("finished_at"),
        due_at=instant("due_at") if state.get("state") == "retrying" else None,
        attempt=int(state.get("attempt", 0)),
        charges=tuple(charges_from(json.loads(state.get("charges", "[]")))),
        error=json.loads(state["error"]) if state.get("error") else None,
        result=json.loads(state["result"]) if state.get("result") else None,
        cancelled=state.get("cancelled", ""),
        cancel_requested=state.get("cancel") == "1",
        resumable=bool(state.get("checkpoint")),
    )
