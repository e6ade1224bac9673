"""Bounds what threads do at the same time, so that no tenant's work holds another's."""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

DECODED_AT_ONCE = min(os.cpu_count() or 1, 4)
"""Pictures decoded at once in a process: more than processors would only need more memory, up to 1.2 GB each."""


@dataclass(eq=False, slots=True)
class _Waiter:
    amount: int
    admitted: threading.Event = field(default_factory=threading.Event)


class FairLimiter:
    """
    So much held at once in all, and by one group; groups are served in turn, each in the order of its own.

    A newcomer waits for one holder of each other group at most, however long the others' lines are.
    """

    def __init__(self, most: int, most_per_group: int) -> None:
        self._free, self._per_group = most, most_per_group
        self._held: Counter[str] = Counter()
        self._lines: OrderedDict[str, deque[_Waiter]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, group: str, amount: int = 1, within_s: float | None = None) -> Iterator[None]:
        """
        Wait for room, and give it back at the end; `amount` above a group's share counts as its share.

        Raises `TimeoutError` when there is no room within `within_s`.
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
        """Return how many of a group wait."""
        with self._lock:
            return len(self._lines.get(group, ()))

    def _leave(self, group: str, waiter: _Waiter) -> bool:
        """Take a waiter out of its line; False if it was admitted meanwhile."""
        with self._lock:
            if waiter.admitted.is_set():
                return False
            self._lines[group].remove(waiter)
            if not self._lines[group]:
                del self._lines[group]
            self._admit()  # whoever stood behind it may fit
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
        for group, line in self._lines.items():
            amount = line[0].amount
            if self._held[group] + amount > self._per_group:
                continue
            if amount > self._free:
                return False  # nobody overtakes, or what is large would wait for ever
            line.popleft().admitted.set()
            self._free -= amount
            self._held[group] += amount
            self._lines.move_to_end(group)
            if not line:
                del self._lines[group]
            return True
        return False


def decoding_limiter() -> FairLimiter:
    """Make the limiter for decoding: a group is a tenant, and one processor stays free for the others."""
    return FairLimiter(DECODED_AT_ONCE, max(DECODED_AT_ONCE - 1, 1))
