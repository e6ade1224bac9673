"""
A total deadline for calls on blocking sockets. At the deadline the connection is shut down, whatever the peer does.

A socket's timeout bounds a single read only. It does not end a call whose peer sends one byte per second, sends `100
Continue` without end, or hangs in the TLS handshake. Therefore one daemon thread per process shuts connections down at
their deadlines, and the blocked call returns at once. The thread sleeps until the earliest deadline of the calls in
flight.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time


class Deadline:
    """
    The deadline of one call. The call must `watch` each connection that it uses, and `lift` the deadline at its end.

    `at` is an instant of `time.monotonic`, and may be moved to a later instant during the call. `expired` is true once
    the connection was shut down. After `lift`, a deadline cannot expire any more.
    """

    __slots__ = ("at", "descriptor", "expired", "lifted_at")

    def __init__(self, at: float) -> None:
        self.at = at
        self.expired = False
        self.lifted_at: float | None = None
        self.descriptor: int | None = None

    def left_s(self) -> float:
        """Return the seconds that remain until the deadline, at least a millisecond."""
        # A socket timeout of 0 would mean "do not block".
        return max(self.at - time.monotonic(), 0.001)

    def watch(self, connection: socket.socket) -> None:
        """Shut this connection down at the deadline. It may be wrapped in TLS before or after this call."""
        # A duplicate of the descriptor, since the original number may belong to another socket at the deadline.
        _watchman().add(self, os.dup(connection.fileno()))

    def lift(self) -> None:
        """End the deadline and stop watching; this may be called more than once, and from any thread."""
        _watchman().remove(self)


class _Watchman:
    """Shuts connections down, in a thread of its own. One lock guards the deadlines of the calls in flight."""

    def __init__(self) -> None:
        self._in_flight: set[Deadline] = set()
        self._wake_at = math.inf
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="retouch-deadlines", daemon=True).start()

    def add(self, deadline: Deadline, descriptor: int) -> None:
        with self._changed:
            _close(deadline)
            deadline.descriptor = descriptor
            self._in_flight.add(deadline)
            if deadline.at < self._wake_at:
                self._wake_at = deadline.at
                self._changed.notify()

    def remove(self, deadline: Deadline) -> None:
        with self._changed:
            if deadline.lifted_at is None:
                deadline.lifted_at = time.monotonic()
            self._in_flight.discard(deadline)
            _close(deadline)

    def _run(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for deadline in [one for one in self._in_flight if one.at <= now]:
                    self._in_flight.discard(deadline)
                    _cut(deadline)
                self._wake_at = min((one.at for one in self._in_flight), default=math.inf)
                self._changed.wait(None if self._wake_at == math.inf else self._wake_at - now)


def _cut(deadline: Deadline) -> None:
    """Shut the connection of a deadline down, so that the blocked call returns."""
    deadline.expired = True
    if deadline.descriptor is not None:
        with contextlib.suppress(OSError), socket.socket(fileno=deadline.descriptor) as connection:
            connection.shutdown(socket.SHUT_RDWR)
        deadline.descriptor = None


def _close(deadline: Deadline) -> None:
    """Close the duplicate descriptor of a deadline, if it has one; the connection stays open."""
    if deadline.descriptor is not None:
        os.close(deadline.descriptor)
        deadline.descriptor = None


_lock = threading.Lock()
_by_process: dict[int, _Watchman] = {}


def _watchman() -> _Watchman:
    watchman = _by_process.get(os.getpid())  # threads do not survive a fork
    if watchman is None:
        with _lock:
            watchman = _by_process.get(os.getpid()) or _Watchman()
            _by_process[os.getpid()] = watchman
    return watchman
