"""The state that the routes of one simulator share: settings, books, faults to come, generations."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from retouch_ops.simulator.audit import Audit
from retouch_ops.simulator.config import SimulatorConfig
from retouch_ops.simulator.faults import FaultScript
from retouch_ops.simulator.generations import Generations
from retouch_ops.simulator.image_pool import ImagePool

_MOST_REMEMBERED = 50_000


class SpamFilter:
    """Records when each body was last accepted, so that the same body can be refused for a while."""

    def __init__(self) -> None:
        self._accepted_at: dict[str, float] = {}

    def is_repeated(self, body: str, within_s: float) -> bool:
        """Return whether this body was accepted less than `within_s` seconds ago."""
        accepted_at = self._accepted_at.get(body)
        return accepted_at is not None and time.monotonic() - accepted_at < within_s

    def accept(self, body: str) -> None:
        """Record that this body was accepted now. If there are more than 50,000 records, drop the oldest."""
        self._accepted_at.pop(body, None)
        self._accepted_at[body] = time.monotonic()
        if len(self._accepted_at) > _MOST_REMEMBERED:
            del self._accepted_at[next(iter(self._accepted_at))]

    def forget(self, body: str) -> None:
        """Delete the record of this body, because its work did not run."""
        self._accepted_at.pop(body, None)


class SimulatorState:
    """The state of one simulator. A reset begins new books, but a POST that is running is counted in the old books."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._first_config = self.config = config
        self.image_pool = ImagePool()
        self._changed = asyncio.Event()
        self.reset()

    def reset(self, *, keep_settings: bool = False) -> None:
        """Begin new books, and delete faults and generations. Restore the first settings unless `keep_settings`."""
        self.config = self.config if keep_settings else self._first_config
        self.books, self.faults = Audit(self.config.cap), FaultScript()
        self.generations, self.spam_filter = Generations(), SpamFilter()
        self._announce_change()

    def configure(self, changes: dict[str, object]) -> None:
        """Change settings from now on. If a setting is wrong, raise `ControlError` and change nothing."""
        self.config = self.config.changed(changes)
        self.books.set_cap(self.config.cap)
        self._announce_change()

    async def latency_since(self, started_at: float) -> None:
        """
        Wait until the latency has passed since `started_at`, an instant of `time.monotonic`.

        If `latency_s` changes during the wait, the new value counts.
        """
        share = self.faults.latency_share(self.config.latency_spread)
        while (left_s := started_at + share * self.config.latency_s - time.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._changed.wait()

    def _announce_change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def accepts(self, key: object) -> bool:
        """
        Return whether an API key is in the setting `keys`. If that setting is empty, every text except an empty one is
        accepted.
        """
        return isinstance(key, str) and bool(key) and (not self.config.keys or key in self.config.keys)
