"""
The ways in which an account can fail in a test: the fault of its simulator, and the state of the account afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from retouch_ops.simulator.process import Simulator


@dataclass(frozen=True)
class Death:
    """
    One way in which an account fails.

    `closes` is the code with which the fault closes the account. If `closes` is empty, the fault opens the breaker of
    the account. If `is_free` is true, the endpoint charges nothing for failed calls, and each job costs exactly one
    charge.
    """

    name: str
    begin: Callable[[Simulator], object]
    closes: str = ""
    is_free: bool = True


DEATHS = (
    Death("5xx", lambda simulator: simulator.faults(rates={"error_503": 1.0})),
    Death("401", lambda simulator: simulator.settings(keys=["sk-another-key"]), closes="bad_key"),
    Death("no credit", lambda simulator: simulator.faults(rates={"no_credits": 1.0}), closes="no_credits"),
    Death("hangs", lambda simulator: simulator.faults(rates={"read_timeout": 1.0}), is_free=False),
    Death("drops connections", lambda simulator: simulator.faults(rates={"reset_after_work": 1.0}), is_free=False),
)
