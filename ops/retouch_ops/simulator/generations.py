"""
The requests that the simulator accepted: what a fetch of each answers, what its output links serve, and when.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass, field

from retouch_ops.simulator.config import OutputKind
from retouch_ops.simulator.effects import Plan
from retouch_ops.simulator.image_pool import Source

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
    samples: int = 1
    odd_index: int | None = None
    took_s: float = 0.0
    reported_eta_s: float = 0.0
    answered_at: float = 0.0
    ready_at: float = float("inf")
    stem: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def names(self) -> list[str]:
        """The names of its pictures, one for each sample."""
        return [f"{self.stem}-{index}.png" for index in range(self.samples)]

    @property
    def paths(self) -> list[str]:
        """The paths of the output links."""
        return [f"/generations/{name}" for name in self.names]

    def kind_of(self, index: int) -> OutputKind:
        """Return the output kind of one picture."""
        return self.output_kind if self.odd_index in (None, index) else "png"

    def mark_of(self, index: int) -> str:
        """Return a text that makes one picture differ from all others, also from those of the same answer."""
        return f"{self.mark}-{index}" if index else self.mark

    @property
    def is_ready(self) -> bool:
        """True if the work is done."""
        return time.monotonic() >= self.ready_at


class Generations:
    """The generations that can still be fetched or read; the oldest beyond `MOST_KEPT` are dropped."""

    def __init__(self) -> None:
        self._ids = itertools.count(14_624_464)
        self._by_id: OrderedDict[str, Generation] = OrderedDict()
        self._by_name: dict[str, Generation] = {}

    def next_id(self) -> int:
        """Return a number that no earlier call returned."""
        return next(self._ids)

    def keep(self, generation: Generation) -> None:
        """Store the generation under its id and the names of its outputs."""
        self._by_id[str(generation.id)] = generation
        self._by_name |= dict.fromkeys(generation.names, generation)
        if len(self._by_id) > MOST_KEPT:
            _, oldest = self._by_id.popitem(last=False)
            for name in oldest.names:
                del self._by_name[name]

    def by_id(self, identifier: str) -> Generation | None:
        """Return the generation with this id, or None."""
        return self._by_id.get(identifier)

    def by_name(self, name: str) -> Generation | None:
        """Return the generation with an output of this name, or None."""
        return self._by_name.get(name)
