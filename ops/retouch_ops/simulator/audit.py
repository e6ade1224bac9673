"""
The simulator's *books*: counts of POSTs, of charges that the endpoint would have made, and of requests in flight.

The books cover the time since the last reset. They hold no API key. POSTs are counted by tag, by the hash of the
prompt, and by the hash of the body. The tag is a token in the prompt, such as `[[order-17]]`. Without a token, the hash
of the body is the tag.
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
    """The three names under which one POST is counted: its tag, the hash of its prompt, the hash of its body."""

    tag: str
    prompt: str
    body: str

    @classmethod
    def of(cls, request: Mapping[str, object]) -> Identity:
        """Return the three names of a POST with this body. The API key in the body does not change them."""
        prompt = str(request.get("prompt", ""))
        body = json.dumps([_normalized(request.get(name)) for name in _NAMED])
        token, digest = _TOKEN.search(prompt), _sha256(body)
        return cls(token[1] if token else digest, _sha256(prompt), digest)


def without_token(prompt: str) -> str:
    """Return a prompt without its `[[tag]]`, so that the tag does not change the picture."""
    return _TOKEN.sub("", prompt).strip()


@dataclass
class Entry:
    """The counts and the answers of all POSTs with the same tag, the same prompt or the same body."""

    posts: int = 0
    charged: int = 0
    statuses: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """Return the entry as a JSON object."""
        return {"posts": self.posts, "charged": self.charged, "statuses": self.statuses}


@dataclass
class Line:
    """One line in the list of recent POSTs. It holds the prompt, since this is a development tool."""

    at: float
    identity: Identity
    prompt: str
    answer: str = "running"
    charged: bool = False
    seconds: float = 0.0
    link: str = ""


class Audit:
    """The books from one reset to the next. A POST that runs during a reset is counted in the old books."""

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
        """Count one POST, and return its line in the list of recent POSTs."""
        self.posts += 1
        for entry in self._entries(identity):
            entry.posts += 1
        line = Line(time.time(), identity, prompt)
        self.recent.appendleft(line)
        return line

    def record_charge(self, line: Line) -> None:
        """Count one charge that the endpoint would have made for a POST."""
        self.charged += 1
        line.charged = True
        for entry in self._entries(line.identity):
            entry.charged += 1

    def record_answer(self, line: Line, answer: str) -> None:
        """Record the name of the answer to a POST, and how long it took."""
        line.answer, line.seconds = answer, time.time() - line.at
        for entry in self._entries(line.identity):
            entry.statuses.append(answer)

    def record_refusal(self, line: Line, reason: str) -> None:
        """Count one refusal by its reason. The reason is also recorded as the answer."""
        self.refused[reason] += 1
        self.record_answer(line, reason)

    def is_full(self, owner: str) -> bool:
        """Return whether an API key has as many requests in flight as the cap allows."""
        return self._in_flight[owner] >= self._cap

    def enter(self, owner: str) -> InFlightRequest:
        """Count one more request of an API key as in flight, until `leave` is called on the returned object."""
        self._tick()
        self._in_flight[owner] += 1
        self._total += 1
        self.max_in_flight = max(self.max_in_flight, self._total)
        return InFlightRequest(self, owner)

    def leave(self, owner: str) -> None:
        """Count one request fewer as in flight; only `InFlightRequest.leave` calls this."""
        self._tick()
        self._in_flight[owner] -= 1
        self._total -= 1

    def set_cap(self, cap: int) -> None:
        """Change the cap. The books count the time until now with the old cap."""
        self._tick()
        self._cap = cap

    def as_json(self, *, totals: bool = False) -> dict[str, object]:
        """Return the books as a JSON object. `totals` leaves out the entries by tag, prompt and body."""
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
        # Called before each change: the time since the last change is counted with the old cap and requests in flight.
        now = time.monotonic()
        passed_s, self._since = now - self._since, now
        cap_s = self._cap * max(1, len(self._in_flight)) * passed_s
        self._cap_s += cap_s
        self._in_flight_s += self._total * passed_s
        if self._total:
            self._busy_s += passed_s
            self._busy_cap_s += cap_s


@dataclass
class InFlightRequest:
    """One request that counts as in flight; only the first call of `leave` has an effect."""

    books: Audit
    owner: str
    taken: bool = True

    def leave(self) -> None:
        """Stop counting this request as in flight."""
        if self.taken:
            self.taken = False
            self.books.leave(self.owner)


def _normalized(value: object) -> object:
    """Return an integer as a float, so that 7 and 7.0 lead to the same hash. Return any other value unchanged."""
    return float(value) if isinstance(value, int) else value


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0
