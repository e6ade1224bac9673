"""
A hard total deadline for blocking sockets: at its time the connection is shut down, whatever the peer is doing.

Timeouts of a socket bound one read; a peer that drips a byte a second, answers `100 Continue` without end or hangs in
the TLS handshake passes them for ever. One daemon thread per process shuts down a duplicate of the socket's
descriptor instead: the blocked call returns at once, and a descriptor that was closed and reused meanwhile is safe.
The thread sleeps until the earliest deadline among the calls in flight, so its cost and memory follow the calls in
flight, not the calls per second.
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
    The last instant (`time.monotonic`) of one call: `watch` each connection it uses, `lift` when it is over.

    `expired` says that the connection was cut; a deadline that was lifted never expires afterwards. `at` may be moved
    to a later instant while the call runs.
    """

    __slots__ = ("at", "descriptor", "expired", "lifted_at")

    def __init__(self, at: float) -> None:
        self.at = at
        self.expired = False
        self.lifted_at: float | None = None
        self.descriptor: int | None = None

    def left_s(self) -> float:
        """The time that remains, never below a millisecond, so that it can be used as a socket timeout."""
        return max(self.at - time.monotonic(), 0.001)

    def watch(self, connection: socket.socket) -> None:
        """Cut this connection at the deadline; TLS may be wrapped around it before or after."""
        _watchman().add(self, os.dup(connection.fileno()))

    def lift(self) -> None:
        """Stop watching; may be called twice and from any thread."""
        _watchman().remove(self)


class _Watchman:
    """The thread and the deadlines in flight; every change happens under one lock."""

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
    deadline.expired = True
    if deadline.descriptor is not None:
        with contextlib.suppress(OSError), socket.socket(fileno=deadline.descriptor) as connection:
            connection.shutdown(socket.SHUT_RDWR)
        deadline.descriptor = None


def _close(deadline: Deadline) -> None:
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
