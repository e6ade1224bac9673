r"""
The query language over jobs: `state:failed code:spam_filter tenant:acme tag:order=17 since:2h cost:>1`.

Terms are separated by spaces, and a job must match all of them. Alternatives inside one term are separated by commas. A
value with a space, a comma or a quote is written in double quotes, with `\"` and `\\` inside. The result of parsing
depends only on the text and the time. No field searches prompts or addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import NamedTuple, cast

from retouch.errors import InvalidQuery, QueryFault
from retouch.states import JobState

LENGTH_MOST = 4_096
ALTERNATIVES_MOST = 100

_AGE = re.compile(r"(?P<count>[0-9]{1,9}(\.[0-9]{1,6})?)(?P<unit>[smhdw])")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_UNIX = re.compile(r"[0-9]{9,12}(\.[0-9]{1,9})?")
_COST = re.compile(r"(?P<sign>>=|<=|>|<|=|)(?P<number>[0-9]{1,6})")
_TERM = re.compile(r'(?:"(?:[^"\\]|\\.)*(?:"|\Z)|[^\s"])+')
_PIECE = re.compile(r'"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<comma>,)|(?P<plain>[^,"]+)|(?P<open>".*)', re.DOTALL)
_QUOTED = re.compile(r'[\s",\\]')
_SHOWN = 40

_SIGNS: dict[str, Callable[[int, int], bool]] = {
    ">": int.__gt__,
    ">=": int.__ge__,
    "<": int.__lt__,
    "<=": int.__le__,
    "=": int.__eq__,
}
_MEANT = {
    "status": "state",
    "error": "code",
    "reason": "code",
    "customer": "tenant",
    "job": "id",
    "webhook": "receiver",
    "from": "since",
    "after": "since",
    "to": "until",
    "before": "until",
    "charges": "cost",
    "label": "tag",
}


class Cost(NamedTuple):
    """One bound on a job's possible charges: a sign (`>`, `>=`, `<`, `<=`, `=`) and a number of calls."""

    sign: str
    number: int

    def holds(self, possible: int) -> bool:
        """Return whether a number of possible charges is within the bound."""
        return _SIGNS[self.sign](possible, self.number)


@dataclass(frozen=True, slots=True)
class JobQuery:
    """
    A parsed query. An empty field matches every job, and so does an empty query.

    A job must have one of the values of each field that is not empty. A text may repeat the terms `tag` and `cost`, so
    `tags` and `costs` have one group of alternatives for each term. `since` and `until` (exclusive) bound the instant
    of enqueueing, in Unix seconds. A receiver matches the jobs that name it, and the jobs whose events were sent to it.
    """

    tenants: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    tags: tuple[tuple[tuple[str, str], ...], ...] = ()
    receivers: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    costs: tuple[tuple[Cost, ...], ...] = ()
    since: float = 0.0
    until: float = float("inf")

    def __str__(self) -> str:
        """Return a text that parses to this query at any time: it has instants in place of ages."""
        lists = ("tenant", self.tenants), ("state", self.states), ("code", self.codes), ("account", self.accounts)
        terms = [_written(name, values) for name, values in lists if values]
        terms += [_written("tag", ["=".join(pair) for pair in pairs]) for pairs in self.tags]
        terms += [_written(name, values) for name, values in (("receiver", self.receivers), ("id", self.ids)) if values]
        terms += [_written("cost", [f"{one.sign}{one.number}" for one in bounds]) for bounds in self.costs]
        terms += [f"since:{_instant_text(self.since)}"] if self.since else []
        terms += [f"until:{_instant_text(self.until)}"] if self.until < float("inf") else []
        return " ".join(terms)

    @property
    def unindexed(self) -> tuple[str, ...]:
        """The fields of this query that have no index: `cost`, and `account` if the query names `default`."""
        return ("account",) * ("default" in self.accounts) + ("cost",) * bool(self.costs)

    def frozen(self, at: float) -> JobQuery:
        """Return the same query, limited to jobs that were enqueued before the instant `at` (Unix seconds)."""
        until = min(self.until, at)
        return replace(self, since=min(self.since, until), until=until)

    def also(self, other: JobQuery) -> JobQuery:
        """Return a query that requires both. Raise `InvalidQuery` if both set a field other than time, tag or cost."""
        names = ("tenants", "states", "codes", "accounts", "receivers", "ids")
        both = [name for name in names if getattr(self, name) and getattr(other, name)]
        if both:
            text = "is in the query and in another option as well; give it once"
            raise InvalidQuery([QueryFault(name.removesuffix("s"), 0, text) for name in both])
        return JobQuery(
            **{name: getattr(self, name) or getattr(other, name) for name in names},
            tags=self.tags + other.tags,
            costs=self.costs + other.costs,
            since=max(self.since, other.since),
            until=min(self.until, other.until),
        )


def is_query(text: str) -> bool:
    """Return whether a text is a query and not the name of a state: it has a colon or an inner space."""
    return ":" in text or " " in text.strip()


def list_query(state: str | None, query: str | None, since: float, now: float) -> JobQuery:
    """
    Return the query for a list of jobs that were enqueued at `since` or later.

    A job must match both `state` (the name of a state, or a query) and `query`. Ages count back from `now`.
    """
    if state and not isinstance(state, JobState) and is_query(state):
        state, query = None, f"{state} {query or ''}"
    states = (str(JobState(state)),) if state else ()
    return parse_query(query or "", now).also(JobQuery(states=states, since=since))


def parse_query(text: str, now: float) -> JobQuery:
    """
    Return the query that a text states; ages such as `2h` count back from `now` (Unix seconds).

    Raise `InvalidQuery` with all faults; each has the term, its position (from 1), and what was expected.
    """
    if len(text) > LENGTH_MOST:
        raise InvalidQuery([QueryFault("", 0, f"expected at most {LENGTH_MOST:,} characters, got {len(text):,}")])
    reader = _Reader(now)
    for found in _TERM.finditer(text):
        reader.read(found[0], found.start() + 1)
    if reader.faults:
        raise InvalidQuery(reader.faults)
    return reader.query()


class _Reader:
    """Collects the values and the faults of the terms of one query."""

    def __init__(self, now: float) -> None:
        self._now = now
        self._places: dict[str, list[tuple[int, str]]] = {}
        self._values: dict[str, list[tuple[object, ...]]] = {}
        self.faults: list[QueryFault] = []

    def read(self, term: str, at: int) -> None:
        """Add the values of one term, or its fault; `at` is the position of the term in the text, from 1."""
        try:
            name, values = _values_of(term, self._now, self._places)
        except ValueError as error:
            self.faults.append(QueryFault(term[:_SHOWN], at, str(error)))
            return
        self._values.setdefault(name, []).append(values)
        self._places.setdefault(name, []).append((at, term))

    def query(self) -> JobQuery:
        """Return the query of all terms read so far; raise `InvalidQuery` if `since` is later than `until`."""

        def texts(name: str) -> tuple[str, ...]:
            return tuple(dict.fromkeys(str(one) for group in self._values.get(name, ()) for one in group))

        since, until = self._instant("since", 0.0), self._instant("until", float("inf"))
        if since > until:
            at, term = self._places["until"][0]
            message = "expected a time after that of since:, got an earlier one"
            raise InvalidQuery([QueryFault(term[:_SHOWN], at, message)])
        return JobQuery(
            tenants=texts("tenant"),
            states=texts("state"),
            codes=texts("code"),
            accounts=texts("account"),
            tags=cast(tuple[tuple[tuple[str, str], ...], ...], tuple(self._values.get("tag", ()))),
            receivers=texts("receiver"),
            ids=texts("id"),
            costs=cast(tuple[tuple[Cost, ...], ...], tuple(self._values.get("cost", ()))),
            since=since,
            until=until,
        )

    def _instant(self, name: str, usual: float) -> float:
        values = self._values.get(name)
        return float(str(values[0][0])) if values else usual


def _values_of(term: str, now: float, seen: Container[str]) -> tuple[str, tuple[object, ...]]:
    """Return the field and the values of a term; raise `ValueError` for a fault. `seen` has the fields so far."""
    name, colon, rest = term.partition(":")
    if not colon or '"' in name:
        kind = {"ed_": "id", "rc_": "receiver"}.get(term[:3])
        meant = f"; did you mean {kind}:{term[:_SHOWN]}?" if kind else "; prompts cannot be searched"
        raise ValueError(f"expected field:value{meant}")
    read = _reader_of(name)
    if name in seen and name not in ("tag", "cost"):
        raise ValueError(f"{name} is there twice; separate alternatives by commas: {name}:a,b")
    values = _alternatives(name, rest)
    return name, tuple(read(one, now) for one in (_full_tags(values) if name == "tag" else values))


def _full_tags(values: list[str]) -> list[str]:
    """Return the values of a tag term, each with a name: `order=17,18` gives `order=17` and `order=18`."""
    name, full = "", list[str]()
    for value in values:
        name = value.partition("=")[0] if "=" in value else name
        full.append(value if "=" in value or not name else f"{name}={value}")
    return full


def _reader_of(name: str) -> Callable[[str, float], object]:
    """Return the function that parses a value of this field; raise `ValueError` for an unknown field."""
    if name in _FIELDS:
        return _FIELDS[name]
    if name.lower() in ("prompt", "text", "url", "init_image"):
        raise ValueError("prompts and addresses cannot be searched")
    close = _MEANT.get(name.lower()) or next(iter(get_close_matches(name.lower(), _FIELDS, 1, 0.5)), "")
    meant = f"did you mean {close}:? " if close else ""
    raise ValueError(f"no field is called {name[:_SHOWN]!r}; {meant}expected one of {', '.join(_FIELDS)}")


def _alternatives(name: str, text: str) -> list[str]:
    """Return the values of a term, without their quotes; raise `ValueError` for an empty value or too many values."""
    found = [""]
    for piece in _PIECE.finditer(text):
        if piece["open"]:
            raise ValueError("expected a closing quote")
        if piece["comma"]:
            found.append("")
        else:
            found[-1] += piece["plain"] or re.sub(r"\\(.)", r"\1", piece["quoted"])
    if not all(found):
        raise ValueError(f"expected a value, such as {name}:{_EXAMPLES[name]}")
    most = 1 if name in ("since", "until") else ALTERNATIVES_MOST
    if len(found) > most:
        raise ValueError(f"expected at most {most} value{'s' if most > 1 else ''}, got {len(found)}")
    return found


def _state(text: str, _now: float) -> str:
    if text in list(JobState):
        return text
    close = next(iter(get_close_matches(text.lower(), list(JobState), 1, 0.5)), "")
    meant = f"; did you mean {close}?" if close else ""
    raise ValueError(f"expected {', '.join(JobState)}, got {text[:_SHOWN]!r}{meant}")


def _tag(text: str, _now: float) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise ValueError(f"expected name=value, got {text[:_SHOWN]!r}")
    return name, value


def _cost(text: str, _now: float) -> Cost:
    found = _COST.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a number of calls, such as >1, <=2 or 0, got {text[:_SHOWN]!r}")
    return Cost(found["sign"] or "=", int(found["number"]))


def _time(text: str, now: float) -> float:
    if age := _AGE.fullmatch(text):
        return max(0.0, now - float(age["count"]) * _UNIT_S[age["unit"]])
    if _UNIX.fullmatch(text):
        return float(text)
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"expected an age such as 15m, 2h or 3d, an ISO 8601 time or Unix seconds, got {text[:_SHOWN]!r}"
        ) from None


def _with_prefix(prefix: str, what: str) -> Callable[[str, float], str]:
    def read(text: str, _now: float) -> str:
        if not text.startswith(prefix):
            raise ValueError(f"expected {what}, which begins with {prefix}, got {text[:_SHOWN]!r}")
        return text

    return read


def _word(text: str, _now: float) -> str:
    if re.search(r"[\s:]", text):
        raise ValueError(f"expected a name without spaces and colons, got {text[:_SHOWN]!r}")
    return text


_FIELDS: dict[str, Callable[[str, float], object]] = {
    "state": _state,
    "code": _word,
    "tenant": _word,
    "account": _word,
    "tag": _tag,
    "since": _time,
    "until": _time,
    "cost": _cost,
    "id": _with_prefix("ed_", "the id of a job"),
    "receiver": _with_prefix("rc_", "the id of a receiver"),
}
_EXAMPLES = {
    "state": "failed",
    "code": "spam_filter",
    "tenant": "acme",
    "account": "default",
    "tag": "order=17",
    "since": "2h",
    "until": "1h",
    "cost": ">1",
    "id": "ed_…",
    "receiver": "rc_…",
}
FIELDS = tuple(_FIELDS)
"""The names of all fields."""


def _written(name: str, values: Iterable[str]) -> str:
    return f"{name}:{','.join(_quoted(value) for value in values)}"


def _quoted(value: str) -> str:
    if not _QUOTED.search(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _instant_text(at: float) -> str:
    # Not Unix seconds: the parser accepts them only with nine digits or more, so an instant before 1973 would be lost.
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
