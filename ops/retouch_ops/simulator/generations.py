"""
The requests that the simulator has accepted, called generations.

A generation determines how its fetches are answered, what its output links serve, and when the links begin to work.
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
    """
    One accepted request. Instants are of the monotonic clock.

    `kind` is the fault of the request. `mark` is written into the outputs, so that equal edits of two requests have
    different bytes. `output_kind` applies to the output at `odd_index`. If `odd_index` is None, it applies to all
    outputs.
    """

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
        """The file names of the generation's outputs, one for each sample."""
        return [f"{self.stem}-{index}.png" for index in range(self.samples)]

    @property
    def paths(self) -> list[str]:
        """The URL paths of the generation's outputs, in the order of `names`."""
        return [f"/generations/{name}" for name in self.names]

    def kind_of(self, index: int) -> OutputKind:
        """Return the output kind of the output at an index."""
        return self.output_kind if self.odd_index in (None, index) else "png"

    def mark_of(self, index: int) -> str:
        """Return the mark of the output at an index; all outputs of one answer have different marks."""
        return f"{self.mark}-{index}" if index else self.mark

    @property
    def is_ready(self) -> bool:
        """Whether the work is done, so that the outputs can be downloaded."""
        return time.monotonic() >= self.ready_at


class Generations:
    """The generations that can still be fetched and downloaded: the latest `MOST_KEPT`."""

    def __init__(self) -> None:
        self._ids = itertools.count(14_624_464)
        self._by_id: OrderedDict[str, Generation] = OrderedDict()
        self._by_name: dict[str, Generation] = {}

    def next_id(self) -> int:
        """Return the id for a new generation, one higher than the last."""
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
