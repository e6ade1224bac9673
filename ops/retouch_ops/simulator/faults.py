"""
The faults of the simulator, and the script that decides which answer gets which fault.

Each fault belongs to one stage. The stage decides whether the books count a charge:

- `refusal`: the answer comes at once, and no work is done. The POST is not charged.
- `failing`: the answer comes after the latency, and the POST is in flight until then. It is not charged.
- `lost`: the work is done and charged, but the answer is lost or unreadable.
- `variant`: the work is done and charged, and the answer is valid, in another shape.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retouch_ops.simulator.config import ControlError, OutputKind

Stage = Literal["refusal", "failing", "lost", "variant"]

FAULTS: dict[str, tuple[Stage, str]] = {
    "success": ("variant", "No fault: the ordinary answer; useful between two faults of a script."),
    "queue_full": ("refusal", "Rate limit exceeded, with retry_after in the body."),
    "retry_after_header": ("refusal", "HTTP 429 with a Retry-After header and no retry_after in the body."),
    "spam_filter": ("refusal", "Rate limit exceeded, with the tips text of the same-request filter."),
    "bad_key": ("refusal", "Invalid Api Key."),
    "invalid_request": ("refusal", "Invalid API Request."),
    "no_credits": ("refusal", "Insufficient credits."),
    "validation": ("refusal", "The prompt field is required, as an object of field to list of strings."),
    "image_unfetchable": ("refusal", "Unable to fetch image from provided URL."),
    "reset_before_work": ("refusal", "The connection is reset at once; nothing was started."),
    "failed": ("failing", "status failed: Failed, Try Again."),
    "error_500": ("failing", "HTTP 500 with a JSON error."),
    "error_503": ("failing", "HTTP 503 with a JSON error: temporarily unavailable."),
    "processing_failed": ("failing", "processing first; the fetch then says status failed."),
    "html_502": ("lost", "A proxy's HTML page with HTTP 502."),
    "html_504": ("lost", "A proxy's HTML page with HTTP 504."),
    "html_520": ("lost", "A proxy's HTML page with HTTP 520."),
    "html_200": ("lost", "An HTML page with HTTP 200."),
    "empty_200": ("lost", "HTTP 200 with no body."),
    "unparseable": ("lost", "HTTP 200 with JSON that stops in the middle."),
    "statusless_200": ("lost", 'HTTP 200 with {"message":""}.'),
    "error_id": ("lost", "HTTP 200 with an error_id alone."),
    "reset_after_work": ("lost", "The connection is reset when the work is done."),
    "read_timeout": ("lost", "No answer at all: the connection stays open until the client leaves."),
    "drip": ("variant", "The ordinary answer, headers and body, at drip_bytes_per_s; then the connection closes."),
    "processing": ("variant", "processing with fetch_result, eta and id; done after processing_s."),
    "processing_forever": ("variant", "processing, and every fetch says processing."),
    "processing_no_id": ("variant", "processing with an empty id and no fetch_result."),
    "fetch_not_found": ("variant", "processing, and every fetch says Request not found."),
    "list_output": ("variant", "success with output as a list, and proxy_links."),
    "flagged": ("variant", "success with nsfw_content_detected true and a flat placeholder."),
}
_LOST = tuple(kind for kind, (stage, _) in FAULTS.items() if stage == "lost")
FETCH_FAULTS = ("success", "bad_key", "queue_full", "failed", "error_500", "error_503", *_LOST, "drip")


def stage_of(kind: str) -> Stage:
    """Return the stage to which a fault belongs; the module's docstring explains the stages."""
    return FAULTS[kind][0]


def is_charged(kind: str) -> bool:
    """Return whether the endpoint would bill a POST with this fault."""
    return stage_of(kind) in ("lost", "variant")


class Fault(BaseModel):
    """
    One line of a script: a fault for the next `times` answers. If `tag` is set, only requests with that tag get the
    fault.

    `output_kind` replaces the bytes of all outputs. If `output_index` is set, only that output is replaced.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = "success"
    times: int = Field(1, ge=1, le=1_000_000)
    tag: str | None = None
    output_kind: OutputKind | None = None
    output_index: int | None = Field(
        None, ge=0, description="The picture that output_kind is for, if there are several."
    )


class FaultCall(BaseModel):
    """The body of `POST /control/faults`. A member that is left out changes nothing."""

    model_config = ConfigDict(extra="forbid")

    next: list[Fault] | None = None
    next_fetch: list[Fault] | None = None
    rates: dict[str, float] | None = None
    seed: int | None = None

    def faults(self) -> list[str]:
        """Return a line for each unknown fault in the call, and a line if the rates are wrong."""
        return [
            *_unknown([fault.kind for fault in self.next or []], tuple(FAULTS)),
            *_unknown([fault.kind for fault in self.next_fetch or []], FETCH_FAULTS),
            *_unknown(list(self.rates or {}), tuple(FAULTS)),
            *_bad_rates(self.rates or {}),
        ]


@dataclass
class _ScriptLine:
    fault: Fault
    left: int


class FaultScript:
    """
    Chooses the faults of the next answers. Scripted faults come first, in order. Then faults are drawn by the rates.

    The random numbers depend only on the seed.
    """

    def __init__(self) -> None:
        self._next: deque[_ScriptLine] = deque()
        self._next_fetch: deque[_ScriptLine] = deque()
        self._rates: dict[str, float] = {}
        self._random = random.Random(0)

    def apply(self, call: object) -> None:
        """
        Apply one control call. Raises `ControlError` if any part is wrong, and then changes nothing.

        `next` and `next_fetch` are added to the script. `rates` replaces the rates, and `seed` restarts the random
        numbers.
        """
        wanted = _parse(call)
        self._next.extend(_ScriptLine(fault, fault.times) for fault in wanted.next or [])
        self._next_fetch.extend(_ScriptLine(fault, fault.times) for fault in wanted.next_fetch or [])
        if wanted.rates is not None:
            self._rates = {kind: rate for kind, rate in wanted.rates.items() if rate > 0}
        if wanted.seed is not None:
            self._random.seed(wanted.seed)

    def for_post(self, tag: str, processing_share: float) -> Fault:
        """Remove and return the fault of the next admitted POST, scripted or drawn at random."""
        scripted = _take(self._next, tag)
        if scripted is not None:
            return scripted
        drawn = self._draw()
        if drawn == "success" and self._random.random() < processing_share:
            drawn = "processing"
        return Fault(kind=drawn)

    def for_fetch(self, tag: str) -> Fault:
        """Remove and return the fault of the next fetch. Faults of fetches are scripted, never drawn at random."""
        return _take(self._next_fetch, tag) or Fault()

    def latency_share(self, spread: float) -> float:
        """Return a random factor for the latency, around 1 and at least 0.1. `spread` is the standard deviation."""
        return max(0.1, self._random.gauss(1.0, spread)) if spread else 1.0

    def as_json(self) -> dict[str, object]:
        """Return the faults that are still to come, and the rates, as a JSON object."""
        return {
            "next": [_remaining(line) for line in self._next],
            "next_fetch": [_remaining(line) for line in self._next_fetch],
            "rates": dict(self._rates),
        }

    def _draw(self) -> str:
        if not self._rates:
            return "success"
        point = self._random.random()
        for kind, rate in self._rates.items():
            point -= rate
            if point < 0:
                return kind
        return "success"


def _take(lines: deque[_ScriptLine], tag: str) -> Fault | None:
    for line in lines:
        if line.fault.tag in (None, tag):
            line.left -= 1
            if line.left == 0:
                lines.remove(line)
            return line.fault
    return None


def _remaining(line: _ScriptLine) -> dict[str, object]:
    return {**line.fault.model_dump(exclude_none=True), "times": line.left}


def _parse(call: object) -> FaultCall:
    try:
        wanted = FaultCall.model_validate(call if isinstance(call, Mapping) else {"": call})
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        known = f"known: {', '.join(FaultCall.model_fields)}; a fault has {', '.join(Fault.model_fields)}"
        raise ControlError([*lines, f"{known}; output kinds: {', '.join(get_args(OutputKind))}"]) from None
    faults = wanted.faults()
    if faults:
        raise ControlError(faults)
    return wanted


def _unknown(kinds: list[str], known: tuple[str, ...]) -> list[str]:
    unknown = sorted({kind for kind in kinds if kind not in known})
    return [f"unknown fault {kind!r} here; known: {', '.join(known)}" for kind in unknown]


def _bad_rates(rates: dict[str, float]) -> list[str]:
    if all(0 <= rate <= 1 for rate in rates.values()) and sum(rates.values()) <= 1:
        return []
    return [f"rates: expected numbers from 0 to 1 with a sum of at most 1, got {rates}"]
