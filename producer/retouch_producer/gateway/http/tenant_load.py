"""
Measures how much time of this gateway each tenant uses.

A tenant is present for `PRESENT_S` seconds after its last request. A tenant is busy if it uses much time while another
present tenant uses little.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MEMORY_S = 5.0
"""How fast use is forgotten: use of `t` seconds ago counts e^(-t / MEMORY_S)."""
BUSY_S, BUSY_TIMES = 1.0, 4.0
"""A busy tenant used this many seconds lately, and this many times as much as the present tenant that used least."""
PRESENT_S = 600.0
"""A tenant is present for this long after its last request. So a tenant that comes back finds the others moved."""
_LOOKED_AT_EVERY_S = 0.25


class TenantLoad:
    """
    The seconds for which requests of each tenant were processed lately.

    If two requests are processed at the same time, the time of both counts. Waiting does not count. The methods may be
    called in any thread. Each `note` also calls `on_note` with the tenant and the seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._loads: dict[str, tuple[float, float]] = {}
        self._lightest: list[tuple[float, str]] = []
        self._lightest_until = 0.0
        self.on_note: Callable[[str, float], None] = _ignore

    def note(self, tenant: str, seconds: float) -> None:
        """Add seconds to the load of a tenant."""
        if tenant:  # "" stands for the callers without a key
            self._loads[tenant] = self.of(tenant) + seconds, self._clock()
            self.on_note(tenant, seconds)

    @contextmanager
    def timed(self, tenant: str) -> Iterator[None]:
        """Context manager that adds the duration of the block to the load of a tenant."""
        began_at = self._clock()
        try:
            yield
        finally:
            self.note(tenant, self._clock() - began_at)

    def of(self, tenant: str) -> float:
        """Return the seconds that a tenant used lately."""
        seconds, at = self._loads.get(tenant, (0.0, 0.0))
        return seconds * math.exp((at - self._clock()) / MEMORY_S)

    def is_busy(self, tenant: str) -> bool:
        """Return whether a tenant is busy: it used much time, and much more than the present tenant that used least."""
        own = self.of(tenant)
        return own >= BUSY_S and own >= BUSY_TIMES * self._least_load_beside(tenant)

    def is_alone(self, tenant: str) -> bool:
        """Return whether no other tenant has had a request in the last `PRESENT_S` seconds."""
        return self._least_load_beside(tenant) == math.inf

    def _least_load_beside(self, tenant: str) -> float:
        """
        Return the smallest load among the other present tenants; infinity if there are none. It may be 0.25 s old.
        """
        now = self._clock()
        if now >= self._lightest_until:
            for name, (_, at) in list(self._loads.items()):
                if at < now - PRESENT_S:
                    self._loads.pop(name, None)
            self._lightest = heapq.nsmallest(2, [(self.of(name), name) for name in list(self._loads)])
            self._lightest_until = now + _LOOKED_AT_EVERY_S
        return next((load for load, name in self._lightest if name != tenant), math.inf)


def _ignore(tenant: str, seconds: float) -> None:
    """Do nothing."""
