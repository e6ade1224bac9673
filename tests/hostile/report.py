"""
The report of a hostile run: the figures of the quiet tenant, alone and beside the hostile tenant, and the missed aims.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from retouch_ops.bench.figures import percentile

KINDS = ("enqueue", "read", "list", "upload", "webhook")
RATIO_MOST, SILENCE_MOST_S = 2.0, 0.05


@dataclass
class Phase:
    """
    The figures of one phase.

    `times` has the seconds of each request, by kind. `missing` is the number of jobs without a final webhook. `redis`
    has the figures of `prober.py`, which pings Redis. `slow` has the longest duration of each slow command, in seconds.
    `megabytes` has the highest resident memory of each process.
    """

    times: dict[str, list[float]]
    statuses: dict[str, int]
    missing: int
    wrong: list[str]
    redis: dict[str, Any]
    slow: dict[str, float]
    megabytes: dict[str, float]
    load: float

    def figures_ms(self, kind: str) -> tuple[float, float]:
        """Return the median and the p99 of one kind of request, both 0 if there was none."""
        times = self.times.get(kind) or [0.0]
        return 1_000 * median(times), 1_000 * percentile(times, 0.99)

    def unserved(self) -> dict[str, int]:
        """Return the counts of answers with a 5xx status, and of requests without an answer."""
        return {one: count for one, count in self.statuses.items() if one.startswith("5") or one == "none"}

    def row_values(self) -> dict[str, str]:
        """Return all figures except the latencies, as text by title."""
        slow = ", ".join(f"{name} {1_000 * took_s:.0f}" for name, took_s in list(self.slow.items())[:4])
        return {
            "Redis silent at most, ms": f"{1_000 * self.redis['longest_s']:.0f}",
            "silences of 50 ms or more": str(self.redis["silences"]),
            "the prober's own delay at most, ms": f"{1_000 * self.redis['own_late_s']:.0f}",
            "slowest commands and scripts, ms": slow or "none over 5",
            **{f"{name}, resident at most, MB": f"{most:.0f}" for name, most in self.megabytes.items()},
            "answers": counts(self.statuses),
            "load average": f"{self.load:.1f}",
        }


@dataclass
class Report:
    """The two phases, and the counts of answers to the hostile requests by attack and status."""

    attacks: list[str]
    quiet: Phase
    beside: Phase
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def ratio(self, kind: str) -> float:
        """Return the quiet tenant's p99 beside the hostile tenant, divided by its p99 without the hostile tenant."""
        return self.beside.figures_ms(kind)[1] / (self.quiet.figures_ms(kind)[1] or 1.0)

    def server_errors(self) -> dict[str, int]:
        """
        Return the counts of 5xx answers to both tenants. For the quiet tenant, a request without an answer counts too.
        """
        hostile = {
            f"{name} {status}": number
            for name, one in self.answers.items()
            for status, number in one["statuses"].items()
            if status.startswith("5")
        }
        quiet = {f"quiet {status}": number for status, number in self.beside.unserved().items()}
        return {**hostile, **quiet, **{f"alone {status}": count for status, count in self.quiet.unserved().items()}}

    def missed(self) -> list[str]:
        """Return a line for each aim that was missed."""
        found = [f"p99 of {kind}: {self.ratio(kind):.1f} times" for kind in KINDS if self.ratio(kind) > RATIO_MOST]
        if self.beside.redis["longest_s"] >= SILENCE_MOST_S:
            found.append(f"Redis was silent for {1_000 * self.beside.redis['longest_s']:.0f} ms")
        found += [f"{number} times {name}" for name, number in self.server_errors().items()]
        if missing := self.beside.missing + self.quiet.missing:
            found.append(f"{missing} webhooks of the quiet tenant did not come")
        return found

    def table(self) -> str:
        """Return the report as Markdown."""
        lines = [f"attacks: {', '.join(self.attacks)}", ""]
        lines += ["| quiet tenant, ms | alone p50 | p99 | beside p50 | p99 | ratio |", "|---|---|---|---|---|---|"]
        for kind in KINDS:
            figures = (*self.quiet.figures_ms(kind), *self.beside.figures_ms(kind))
            lines.append(f"| {kind} | {' | '.join(f'{one:,.0f}' for one in figures)} | {self.ratio(kind):.1f} |")
        lines += ["", "| | alone | beside |", "|---|---|---|"]
        beside = self.beside.row_values()
        lines += [f"| {name} | {alone} | {beside[name]} |" for name, alone in self.quiet.row_values().items()]
        lines += ["", "| hostile attack | begun | answers |", "|---|---|---|"]
        lines += [f"| {name} | {one['begun']} | {counts(one['statuses'])} |" for name, one in self.answers.items()]
        return "\n".join([*lines, "", *(f"wrong: {one}" for one in self.beside.wrong[:5]), f"missed: {self.missed()}"])


def counts(statuses: Mapping[str, int]) -> str:
    """Return the counts of answers by status, as text."""
    return ", ".join(f"{status}: {number:,}" for status, number in sorted(statuses.items()))
