"""The pulse of a worker continues after any error, since leases of paid calls depend on it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import redis

from retouch import Settings
from retouch.publisher import Publisher
from retouch.store.lanes import Lanes
from retouch_worker.pulse import Pulse


class OddLanes:
    """Lanes whose first `rescue` raises an unknown error and whose later calls succeed."""

    def __init__(self) -> None:
        self.asked = 0
        self.answered = threading.Event()

    def leave(self, *_: object) -> None:
        """Do nothing."""

    def heartbeat(self, lease_s: float, leases: Sequence[Any], *_: object) -> list[str]:
        """Return an empty list: no lease is lost."""
        return []

    def rescue(self, tick_s: float, lease_s: float, retention_s: float) -> tuple[float, list[Any]]:
        """Raise in the first call. In later calls, return a time until the next call, and no messages."""
        self.asked += 1
        if self.asked == 1:
            raise RuntimeError("Set changed size during iteration")
        self.answered.set()
        return 0.1, []


class NoPublisher:
    """A publisher that sends nothing."""

    def publish(self, messages: Sequence[Any]) -> None:
        """Do nothing."""


def test_the_pulse_survives_what_nobody_foresaw() -> None:
    """After `rescue` raised an unknown error, the pulse calls it again."""
    lanes = OddLanes()
    pulse = Pulse(cast(Lanes, lanes), cast(Publisher, NoPublisher()), Settings.load())
    pulse.start()
    assert lanes.answered.wait(10.0)
    assert lanes.asked >= 2


class RefusingLanes(OddLanes):
    """Lanes whose first two heartbeats raise a refusal of Redis; `order` has the names of all calls, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    def leave(self, *_: object) -> None:
        """Do nothing."""

    def heartbeat(self, lease_s: float, leases: Sequence[Any], *_: object) -> list[str]:
        """Raise a refusal in the first two calls; then return an empty list."""
        self.order.append("renew")
        if self.order.count("renew") <= 2:
            raise redis.ResponseError("NOREPLICAS Not enough good replicas to write.")
        return []

    def rescue(self, tick_s: float, lease_s: float, retention_s: float) -> tuple[float, list[Any]]:
        """Record the call; return a time until the next call, and no messages."""
        self.order.append("rescue")
        if self.order.count("renew") > 2:
            self.answered.set()
        return 0.1, []


def test_nobody_is_judged_before_our_own_leases_are_renewed() -> None:
    """After Redis has refused heartbeats, the pulse renews its own leases before it calls `rescue`."""
    lanes, lease = RefusingLanes(), SimpleNamespace(lane="edits", item="ed_1", fence=1)
    pulse = Pulse(cast(Lanes, lanes), cast(Publisher, NoPublisher()), Settings.load(lease_s=3.0))
    with pulse.renewing(lease):
        pulse.start()
        assert lanes.answered.wait(10.0)
    pulse.drain()
    renewed = [place for place, asked in enumerate(lanes.order) if asked == "renew"]
    assert renewed[2] == renewed[1] + 1, lanes.order
