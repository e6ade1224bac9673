"""Counts of history, and the values computed from them: sums by state, code or class, and percentiles of latencies."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from retouch.accounts import DEFAULT_ACCOUNT

Latency = Literal["wait", "endpoint", "total", "lag"]
LATENCIES: tuple[Latency, ...] = ("wait", "endpoint", "total", "lag")
_SLOW = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
    *(1800.0, 3600.0, 7200.0, 21600.0, 86400.0),
)
BOUNDS: Mapping[str, tuple[float, ...]] = {
    "wait": _SLOW,
    "endpoint": (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0),
    "total": _SLOW,
    "lag": _SLOW,
}
"""
Upper bounds of the buckets of each latency, in seconds, as in history.lua; one more bucket has all greater values.
"""


@dataclass(frozen=True, slots=True)
class Distribution:
    """
    Latencies in buckets. `counts` has one number for each bound (in seconds), then one for latencies above all bounds.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def count(self) -> int:
        """The number of latencies in all buckets."""
        return sum(self.counts)

    def percentile(self, percent: float) -> float | None:
        """
        Return an estimate of the latency (seconds) that `percent` percent of the latencies do not exceed.

        Return None if there are no latencies. The latencies of a bucket are treated as evenly spread. The result never
        exceeds the last bound.
        """
        rank, below = self.count * percent / 100, 0
        if not self.count:
            return None
        for place, count in enumerate(self.counts[: len(self.bounds)]):
            if count and below + count >= rank:
                lower = self.bounds[place - 1] if place else 0.0
                return lower + (self.bounds[place] - lower) * max(0.0, rank - below) / count
            below += count
        return self.bounds[-1]


@dataclass(frozen=True, slots=True)
class HistoryCounts:
    """
    The counts of a period, by the names that history.lua uses; the properties explain these names.

    A count of 0 may be absent.
    """

    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def enqueued(self) -> int:
        """Jobs that were enqueued; a request that was answered with an earlier job is not counted."""
        return self.counts.get("enqueued", 0)

    @property
    def ended(self) -> dict[str, int]:
        """How often jobs ended, by state; a job that is replayed may end more than once."""
        return self._by_first("ended")

    @property
    def failures(self) -> dict[str, int]:
        """Failed jobs by error code, the most frequent first."""
        codes = self._by_first("ended:failed")
        return dict(sorted(codes.items(), key=lambda pair: (-pair[1], pair[0])))

    @property
    def cancelled(self) -> dict[str, int]:
        """Cancelled jobs by the time of the cancellation: `before_charge` or `after_charge`."""
        return self._by_first("ended:cancelled")

    @property
    def calls(self) -> int:
        """POSTs that workers were about to send; each may have reached the endpoint."""
        return self.counts.get("calls", 0)

    @property
    def answers(self) -> dict[str, int]:
        """Answers of the endpoint by class. A polled POST counts twice: as `processing`, and by its final class."""
        return self._by_first("answers")

    @property
    def charges(self) -> dict[str, int]:
        """Charges by their present use, as in the ledger: `useful`, `repeated`, `wasted`, `unknown`."""
        net = Counter(self._by_first("charges"))
        net.subtract(self._by_first("charges_back"))
        return {use: count for use, count in net.items() if count}

    @property
    def charges_by_account(self) -> dict[str, int]:
        """
        Return the number of charges of each account, whatever their use.

        If these are the counts of one account only, they do not name the account, and all its charges are under
        `default`.
        """
        sums = Counter[str]()
        for name, count in self.counts.items():
            word, _, rest = name.partition(":")
            if word in ("charges", "charges_back"):
                account = rest.partition(":")[2] or DEFAULT_ACCOUNT
                sums[account] += count if word == "charges" else -count
        return {account: count for account, count in sums.items() if count}

    @property
    def charges_booked(self) -> dict[str, int]:
        """Charges by use. A charge whose use was changed later counts for both uses, so these counts never decrease."""
        return self._by_first("charges")

    @property
    def charges_moved(self) -> dict[str, int]:
        """{earlier use: number of charges}, for the charges whose use was changed by a late answer."""
        return self._by_first("charges_back")

    @property
    def deliveries(self) -> dict[str, int]:
        """Delivery attempts by the state that followed: `delivered`, `retrying` or `dead`."""
        return self._by_first("deliveries")

    @property
    def rescues(self) -> dict[str, int]:
        """Rescued items by reason: `lease_expired` (the worker died or hung), `message_late` (not claimed in time)."""
        return self._by_first("rescues")

    def latency(self, name: Latency) -> Distribution:
        """
        Return the distribution of one kind of latency.

        `wait` is the time from enqueueing to the first claim. `endpoint` is the duration of a POST to the endpoint.
        `total` is the time from enqueueing to the end, without cancelled and replayed jobs. `lag` is the time from an
        event to its delivery.
        """
        bounds = BOUNDS[name]
        sums = [0] * (len(bounds) + 1)
        for bound, count in self._by_first(name).items():
            sums[bisect_left(bounds, float(bound))] += count
        return Distribution(bounds, tuple(sums))

    def _by_first(self, prefix: str) -> dict[str, int]:
        """Return {part: sum} of the counts named `PREFIX:PART…`."""
        sums: dict[str, int] = {}
        for name, count in self.counts.items():
            if name.startswith(f"{prefix}:"):
                part = name[len(prefix) + 1 :].split(":", 1)[0]
                sums[part] = sums.get(part, 0) + count
        return sums

    def codes(self, state: str) -> dict[str, int]:
        """Return {code: how often jobs ended in this state with this code}; the code is empty for `succeeded`."""
        sums: dict[str, int] = {}
        for name, count in self.counts.items():
            word, _, rest = name.partition(":")
            if word == "ended" and rest.split(":", 1)[0] == state:
                code = rest.partition(":")[2]
                sums[code] = sums.get(code, 0) + count
        return sums


def summed(parts: Iterable[HistoryCounts]) -> HistoryCounts:
    """Return the sums of several counts, name by name."""
    sums = Counter[str]()
    for part in parts:
        sums.update(part.counts)
    return HistoryCounts(sums)
