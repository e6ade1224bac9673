"""The pulse goes on whatever happens to it, since paid calls depend on it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

from retouch import Settings
from retouch.broker import Publisher
from retouch.store.lanes import Lanes
from worker.pulse import Pulse


class OddLanes:
    """Lanes that fail in an unforeseen way at first, then answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.answered = threading.Event()

    def heartbeat(self, lease_s: float, leases: Sequence[Any]) -> list[str]:
        """Renew."""
        return []

    def rescue(self, tick_s: float, lease_s: float, retention_s: float) -> tuple[float, list[Any]]:
        """Fail once, then say that nothing is due."""
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError("Set changed size during iteration")
        self.answered.set()
        return 0.1, []


class NoPublisher:
    """Sends nothing."""

    def publish(self, messages: Sequence[Any]) -> None:
        """Take what there is to send."""


def test_the_pulse_survives_what_nobody_foresaw() -> None:
    """An error that is none of Redis' is logged, and the pulse beats on: leases are not lost for it."""
    lanes = OddLanes()
    pulse = Pulse(cast(Lanes, lanes), cast(Publisher, NoPublisher()), Settings.load())
    pulse.start()
    assert lanes.answered.wait(10.0)
    assert lanes.asked >= 2
