"""
Measures how much time of this gateway each tenant uses.

A tenant is present for `PRESENT_S` seconds after its last request. A tenant is busy if it uses much time while another
present tenant uses little.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

MEMORY_S = 5.0
"""How fast use is forgotten: use of `t` seconds ago counts e^(-t / MEMORY_S)."""
BUSY_S, BUSY_TIMES = 1.0, 4.0
"""A busy tenant used this many seconds lately, and this many times as much as the present tenant that used least."""
PRESENT_S = 600.0
"""A tenant is present for this long after its last request. So a tenant that comes back finds the others moved."""


class TenantLoad:
    """
    The seconds for which requests of each tenant were processed lately.

    If two requests are processed at the same time, the time of both counts. Waiting does not count. The methods may be
    called in any thread. Each `note` also calls `on_note` with the tenant and the seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Each tenant's load, and when it was noted; the tenant that was noted last comes last.
        self._loads = OrderedDict[str, tuple[float, float]]()
        self._lock = Lock()
        self.on_note: Callable[[str, float], None] = _ignore

    def note(self, tenant: str, seconds: float) -> None:
        """Add seconds to the load of a tenant."""
        if tenant:  # "" stands for the callers without a key
            with self._lock:
                self._loads[tenant] = self.of(tenant) + seconds, self._clock()
                self._loads.move_to_end(tenant)
                self._forget_absent()
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
        return own >= BUSY_S and self._is_other_below(own / BUSY_TIMES, tenant)

    def is_alone(self, tenant: str) -> bool:
        """Return whether no other tenant has had a request in the last `PRESENT_S` seconds."""
        return not self._is_other_below(math.inf, tenant)

    def _is_other_below(self, most_s: float, tenant: str) -> bool:
        """Return whether the load of any other present tenant is at most `most_s`."""
        with self._lock:
            self._forget_absent()
            # This ends soon: few tenants can use more than `BUSY_S / BUSY_TIMES`, since the processors are shared.
            return any(name != tenant and self.of(name) <= most_s for name in self._loads)

    def _forget_absent(self) -> None:
        absent_from = self._clock() - PRESENT_S
        while self._loads:
            longest = next(iter(self._loads))
            if self._loads[longest][1] >= absent_from:
                return
            del self._loads[longest]


def _ignore(tenant: str, seconds: float) -> None:
    """Do nothing."""
