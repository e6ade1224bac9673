"""Caches values that pages read from the store, for a short time. Many open tabs then cause only one read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Value = TypeVar("Value")
_KEPT_MOST = 500


@dataclass(slots=True)
class _Slot(Generic[Value]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    read_at: float = float("-inf")
    value: Value | None = None


class Snapshots(Generic[Value]):
    """
    A cache with one value for each scope, such as a tenant.

    A value that is older than `keep_s` seconds is read again, by only one thread.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s, self._slots, self._lock = keep_s, dict[Hashable, _Slot[Value]](), threading.Lock()

    def forget(self) -> None:
        """Drop all cached values. Call this after a person has changed something."""
        with self._lock:
            self._slots.clear()

    def get(self, scope: Hashable, read: Callable[[], Value]) -> Value:
        """
        Return the cached value of a scope. If there is none, or if it is too old, call `read` and cache its result.
        """
        with self._lock:
            if len(self._slots) >= _KEPT_MOST and scope not in self._slots:
                self._slots.clear()
            slot = self._slots.setdefault(scope, _Slot())
        with slot.lock:
            if slot.value is None or time.monotonic() - slot.read_at > self._keep_s:
                slot.value, slot.read_at = read(), time.monotonic()
            return slot.value
