"""
The requests that the simulator accepted: what their fetch answers, and what their output link serves, and when.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field

from ops.simulator.config import OutputKind
from ops.simulator.effects import Plan
from ops.simulator.studio import Source

MOST_KEPT = 20_000


@dataclass(eq=False)
class Generation:
    """One accepted request; instants are of the monotonic clock."""

    id: int
    tag: str
    mark: str
    source: Source
    plan: Plan
    kind: str
    output_kind: OutputKind
    took_s: float = 0.0
    told_eta_s: float = 0.0
    answered_at: float = 0.0
    ready_at: float = float("inf")
    name: str = field(default_factory=lambda: f"{uuid.uuid4()}-0.png")

    @property
    def path(self) -> str:
        """The path of the output link."""
        return f"/generations/{self.name}"

    @property
    def is_ready(self) -> bool:
        """Whether the work is done."""
        return time.monotonic() >= self.ready_at


class Generations:
    """All that can still be fetched or read; the oldest are forgotten past `MOST_KEPT`."""

    def __init__(self) -> None:
        self._ids = itertools.count(14_624_464)
        self._by_id: OrderedDict[str, Generation] = OrderedDict()
        self._by_name: dict[str, Generation] = {}

    def next_id(self) -> int:
        """Return a number that was not given before."""
        return next(self._ids)

    def keep(self, generation: Generation) -> None:
        """Make the generation findable."""
        self._by_id[str(generation.id)] = generation
        self._by_name[generation.name] = generation
        if len(self._by_id) > MOST_KEPT:
            _, oldest = self._by_id.popitem(last=False)
            del self._by_name[oldest.name]

    def by_id(self, identifier: str) -> Generation | None:
        """Return the generation that a fetch asks for."""
        return self._by_id.get(identifier)

    def by_name(self, name: str) -> Generation | None:
        """Return the generation whose output link has this name."""
        return self._by_name.get(name)
