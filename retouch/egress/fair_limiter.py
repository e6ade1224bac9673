"""
Bounds how much work threads do at the same time, so that the work of one tenant does not delay another tenant's work.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

DECODED_AT_ONCE = min(os.cpu_count() or 1, 4)
"""How many pictures a process decodes at one time: one for each processor, but at most 4. Each takes up to 1.2 GB."""


@dataclass(eq=False, slots=True)
class _Waiter:
    """A caller that waits for its turn; `admitted` is set when its `amount` of work may start."""

    amount: int
    admitted: threading.Event = field(default_factory=threading.Event)


class FairLimiter:
    """
    Admits work up to a total amount, and up to an amount for each group.

    Groups take turns, and callers of one group go in the order of arrival. When a group begins to wait, each other
    group has at most one turn before it, even if other groups have many callers.
    """

    def __init__(self, most: int, most_per_group: int) -> None:
        self._free, self._per_group = most, most_per_group
        self._held: Counter[str] = Counter()
        self._lines: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, group: str, amount: int = 1, within_s: float | None = None) -> Iterator[None]:
        """
        Return a context manager that waits until `amount` is free, takes it, and frees it at the end.

        An `amount` above the group's limit counts as that limit. Raises `TimeoutError` if the amount is not free within
        `within_s` seconds; None waits for ever.
        """
        waiter = _Waiter(min(amount, self._per_group))
        with self._lock:
            self._lines.setdefault(group, deque()).append(waiter)
            self._admit()
        if not waiter.admitted.wait(within_s) and self._leave(group, waiter):
            raise TimeoutError(f"expected room for {amount} within {within_s} s")
        try:
            yield
        finally:
            self._give_back(group, waiter.amount)

    def waiting(self, group: str) -> int:
        """Return how many callers of a group wait."""
        with self._lock:
            return len(self._lines.get(group, ()))

    def _leave(self, group: str, waiter: _Waiter) -> bool:
        """Remove a waiter from the line of its group; return False if it was admitted meanwhile."""
        with self._lock:
            if waiter.admitted.is_set():
                return False
            self._lines[group].remove(waiter)
            if not self._lines[group]:
                del self._lines[group]
            self._admit()  # the next one in this line may need less room
            return True

    def _give_back(self, group: str, amount: int) -> None:
        with self._lock:
            self._free += amount
            self._held[group] -= amount
            if not self._held[group]:
                del self._held[group]
            self._admit()

    def _admit(self) -> None:
        while self._admit_one():
            continue

    def _admit_one(self) -> bool:
        """Admit the waiter whose turn it is and return True; return False if no waiter can be admitted now."""
        for group, line in self._lines.items():
            amount = line[0].amount
            if self._held[group] + amount > self._per_group:
                continue
            if amount > self._free:
                return False  # if smaller amounts went first, a large one would wait for ever
            line.popleft().admitted.set()
            self._free -= amount
            self._held[group] += amount
            self._lines.move_to_end(group)
            if not line:
                del self._lines[group]
            return True
        return False


def decoding_limiter() -> FairLimiter:
    """
    Return a new limiter for decoding pictures, in which each group is a tenant.

    If several pictures may be decoded at once, one tenant can never use the whole limit.
    """
    return FairLimiter(DECODED_AT_ONCE, max(DECODED_AT_ONCE - 1, 1))
