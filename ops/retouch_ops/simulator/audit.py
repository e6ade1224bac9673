"""
The simulator's books: every POST, every charge that the endpoint would have made, and the use of the cap.

They cover the time since the last reset. Entries are kept by tag (a token like `[[order-17]]` in the prompt, else the
hash of the body), by the hash of the prompt and by the hash of the body. No entry holds an API key.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

_TOKEN = re.compile(r"\[\[(.+?)\]\]")
_NAMED = ("prompt", "init_image", "image_guidance_scale", "steps", "guidance_scale")


@dataclass(frozen=True)
class Identity:
    """The three names of one request in the books."""

    tag: str
    prompt: str
    body: str

    @classmethod
    def of(cls, request: Mapping[str, object]) -> Identity:
        """Return the names of a request body; they do not depend on its key."""
        prompt = str(request.get("prompt", ""))
        body = json.dumps([_normalized(request.get(name)) for name in _NAMED])
        token, digest = _TOKEN.search(prompt), _sha256(body)
        return cls(token[1] if token else digest, _sha256(prompt), digest)


def without_token(prompt: str) -> str:
    """Return the prompt without its tag, so that the tag does not change the picture."""
    return _TOKEN.sub("", prompt).strip()


@dataclass
class Entry:
    """The counts and answers of all requests with one name."""

    posts: int = 0
    charged: int = 0
    statuses: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Return the entry as JSON."""
        return {"posts": self.posts, "charged": self.charged, "statuses": self.statuses}


@dataclass
class Line:
    """One line of the list of recent requests. It holds the prompt, since this is a development tool."""

    at: float
    identity: Identity
    prompt: str
    answer: str = "running"
    charged: bool = False
    seconds: float = 0.0
    link: str = ""


class Audit:
    """The counts of one period. A reset starts a new one; requests that still run are counted in the old one."""

    def __init__(self, cap: int) -> None:
        self.posts = self.charged = self.fetches = 0
        self.refused: Counter[str] = Counter()
        self.downloads: Counter[str] = Counter()
        self.recent: deque[Line] = deque(maxlen=50)
        self._entries_by: dict[str, dict[str, Entry]] = {"by_tag": {}, "by_prompt": {}, "by_body": {}}
        self._in_flight: Counter[str] = Counter()
        self._total = self.max_in_flight = 0
        self._cap = cap
        self._started_at = self._since = time.monotonic()
        self._in_flight_s = self._busy_s = self._cap_s = self._busy_cap_s = 0.0

    def record_post(self, identity: Identity, prompt: str) -> Line:
        """Count one POST and return its line."""
        self.posts += 1
        for entry in self._entries(identity):
            entry.posts += 1
        line = Line(time.time(), identity, prompt)
        self.recent.appendleft(line)
        return line

    def record_charge(self, line: Line) -> None:
        """Count one charge that the endpoint would have made."""
        self.charged += 1
        line.charged = True
        for entry in self._entries(line.identity):
            entry.charged += 1

    def record_answer(self, line: Line, answer: str) -> None:
        """Record the answer of the POST."""
        line.answer, line.seconds = answer, time.time() - line.at
        for entry in self._entries(line.identity):
            entry.statuses.append(answer)

    def record_refusal(self, line: Line, reason: str) -> None:
        """Count one refusal by its reason."""
        self.refused[reason] += 1
        self.record_answer(line, reason)

    def is_full(self, owner: str) -> bool:
        """Return True if this key has no place in flight left."""
        return self._in_flight[owner] >= self._cap

    def enter(self, owner: str) -> CapPlace:
        """Take one place in flight; the caller must leave it."""
        self._tick()
        self._in_flight[owner] += 1
        self._total += 1
        self.max_in_flight = max(self.max_in_flight, self._total)
        return CapPlace(self, owner)

    def leave(self, owner: str) -> None:
        """Release one place; only `CapPlace` calls this."""
        self._tick()
        self._in_flight[owner] -= 1
        self._total -= 1

    def set_cap(self, cap: int) -> None:
        """Use another cap from now on; the use of the cap so far is counted with the old one."""
        self._tick()
        self._cap = cap

    def as_json(self, *, totals: bool = False) -> dict[str, object]:
        """Return the books as JSON, or only their totals."""
        self._tick()
        sums: dict[str, object] = {
            "posts": self.posts,
            "charged": self.charged,
            "fetches": self.fetches,
            "downloads": dict(self.downloads),
            "refused": dict(self.refused),
            "in_flight": self._total,
            "max_in_flight": self.max_in_flight,
            "in_flight_seconds": round(self._in_flight_s, 4),
            "busy_seconds": round(self._busy_s, 4),
            "window_seconds": round(self._since - self._started_at, 4),
            "cap_used": _ratio(self._in_flight_s, self._cap_s),
            "cap_used_while_busy": _ratio(self._in_flight_s, self._busy_cap_s),
        }
        if totals:
            return sums
        return sums | {
            name: {key: entry.as_json() for key, entry in entries.items()} for name, entries in self._entries_by.items()
        }

    def _entries(self, identity: Identity) -> list[Entry]:
        names = (identity.tag, identity.prompt, identity.body)
        return [
            entries.setdefault(name, Entry()) for entries, name in zip(self._entries_by.values(), names, strict=True)
        ]

    def _tick(self) -> None:
        # Called before each change: the time since the last one is counted with the old cap and places.
        now = time.monotonic()
        passed_s, self._since = now - self._since, now
        cap_s = self._cap * max(1, len(self._in_flight)) * passed_s
        self._cap_s += cap_s
        self._in_flight_s += self._total * passed_s
        if self._total:
            self._busy_s += passed_s
            self._busy_cap_s += cap_s


@dataclass
class CapPlace:
    """One place in flight; only the first call of `leave` has an effect."""

    books: Audit
    owner: str
    taken: bool = True

    def leave(self) -> None:
        """Release the place, unless that has already happened."""
        if self.taken:
            self.taken = False
            self.books.leave(self.owner)


def _normalized(value: object) -> object:
    """Return the value with integers as floats, so that 7 and 7.0 are the same body."""
    return float(value) if isinstance(value, int) else value


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0
