"""Starts the gateway's second process, keeps it running, and hands connections to it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypedDict

from retouch_producer.gateway.http.tenant_load import TenantLoad

STARTS_AFTER_S = 5.0
"""
The second process starts this many seconds after the gateway, or when it is first needed. It must be there before it is
needed: to start takes a second of CPU time, which a busy tenant would take from the others.
"""
READY_WITHIN_S = 5.0
"""For how many seconds the connections of busy tenants wait for the second process to start."""
STARTING_NICENESS, NICENESS = 10, 19
"""
The second process gets the CPU time that the gateway, Redis and the workers of this machine do not need. While it
starts it gets some more, since connections may wait for it.
"""
_START_AGAIN_AFTER_S, _START_AGAIN_MOST_S = 10.0, 300.0
_ENDS_WITHIN_S = 4.0
_SILENT_MOST_S = 3.0  # it reports four times a second
_KILLED_AFTER_S, _STARTING_KILLED_AFTER_S = 30.0, 300.0
_WATCHED_EVERY_S = 1.0
_LINES_BYTES = 65_536

log = logging.getLogger("retouch.gateway")


class Report(TypedDict):
    """
    A report of the second process. It covers the time since the last report: the seconds of processing for each tenant,
    and the answers by route and status.
    """

    used: list[tuple[str, float]]
    answers: list[tuple[str, int, int]]


class Movable(Protocol):
    """
    A connection with a request of a busy tenant. A part of the request was received, but nothing was done for it yet.
    """

    def received(self) -> bytes:
        """Return what was received of the request."""

    def fileno(self) -> int:
        """Return the file descriptor of the connection; -1 if the client has closed it."""

    def leave(self) -> None:
        """Close the connection in this process. It stays open in the other process."""

    def stay(self) -> None:
        """Serve the request in this process."""


class SecondProcess:
    """
    A process that gets connections from the gateway. It serves one request on each connection, and then closes the
    connection.

    The gateway and the process share a pair of sockets, the channel. For each connection, the gateway sends one byte
    with two file descriptors. One is the connection, the other is a file with the bytes that the gateway has received.
    The process sends reports as lines of JSON. If the gateway closes the channel or dies, the process lets open
    requests end, and then ends.

    Failure policy: the gateway keeps a connection that cannot be handed over. It keeps all connections on systems other
    than Linux, and while the second process has not reported for three seconds. If the second process has ended, the
    gateway starts it again, ten seconds after the last start at the earliest. If the process ended before it was ready,
    this pause doubles, up to five minutes.
    """

    def __init__(self, load: TenantLoad, answers: Counter[tuple[str, int]]) -> None:
        """The work of the second process is added to `load` and `answers`."""
        self._load, self._answers = load, answers
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ready, self._lines, self._started_at = False, b"", -_START_AGAIN_AFTER_S
        self._start_again_after_s = _START_AGAIN_AFTER_S
        self._silent_from = 0.0
        self._waiting = deque[Movable]()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Start the process after a few seconds, and keep it running until `let_end`."""
        self._timer = asyncio.get_running_loop().call_later(STARTS_AFTER_S, self._watch)

    def take(self, connection: Movable) -> None:
        """
        Move a connection to the second process once the process is ready. If that takes too long, the connection stays.
        """
        if self._channel is not None and _is_closed(self._channel):
            self._note_end()
        is_running = self._channel is not None or self._start()
        if not is_running or time.monotonic() >= self._silent_from:
            connection.stay()
        else:
            self._waiting.append(connection)
            self._hand_over_waiting()

    def _start(self) -> bool:
        """
        Start the process, and return True. Return False if that is impossible, or if the last start was too recent.
        """
        if time.monotonic() < self._started_at + self._start_again_after_s or not hasattr(os, "memfd_create"):
            return False
        if self._process is not None:
            self._process.poll()  # so that no zombie is left
        self._started_at = time.monotonic()
        self._start_again_after_s = min(2 * self._start_again_after_s, _START_AGAIN_MOST_S)
        try:
            channel = self._run()
        except OSError as fault:
            log.warning("second_process_not_started", exc_info=fault)
            return False
        channel.setblocking(False)
        self._channel, self._silent_from = channel, self._started_at + READY_WITHIN_S
        asyncio.get_running_loop().add_reader(channel, self._read)
        return True

    def _run(self) -> socket.socket:
        """Run the process, and return the gateway's end of the channel."""
        channel, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "retouch_producer.gateway.second_process", str(theirs.fileno())]
        with theirs:
            try:
                self._process = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
                )
            except OSError:
                channel.close()
                raise
        _lower_priority(self._process.pid, STARTING_NICENESS)
        return channel

    def _watch(self) -> None:
        """
        Check once a second that the process runs, and start it if it does not. While it is silent, let the waiting
        connections stay. After 30 s of silence, kill it. While it starts, wait for five minutes: on a machine whose
        CPUs are all in use, it starts slowly, and would start as slowly again.
        """
        self._timer = asyncio.get_running_loop().call_later(_WATCHED_EVERY_S, self._watch)
        if self._channel is None:
            self._start()
        silent_s = time.monotonic() - self._silent_from
        if silent_s >= 0:
            self._let_waiting_stay()
        killed_after_s = _KILLED_AFTER_S if self._is_ready else _STARTING_KILLED_AFTER_S
        if silent_s >= killed_after_s and self._process is not None:
            self._process.kill()

    def _let_waiting_stay(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for connection in waiting:
            connection.stay()

    def _hand_over_waiting(self) -> None:
        """Pass the waiting connections to the process, in order, until the channel is full."""
        if self._channel is None or not self._is_ready:
            return
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                self._hand_over(self._channel, self._waiting[0])
                self._waiting.popleft()
        except BlockingIOError:
            loop.add_writer(self._channel, self._hand_over_waiting)
        else:
            loop.remove_writer(self._channel)

    def _hand_over(self, channel: socket.socket, connection: Movable) -> None:
        """
        Pass a connection to the process, or let the connection stay. Raises `BlockingIOError` if the channel is full.
        """
        if (descriptor := connection.fileno()) == -1:
            connection.stay()
            return
        try:
            # In memory: it has the caller's key, which must not get onto a disk.
            with open(os.memfd_create("received"), "wb") as received:
                received.write(connection.received())
                received.flush()
                socket.send_fds(channel, [b"\0"], [descriptor, received.fileno()])
        except BlockingIOError:
            raise
        except OSError:  # it has ended, or this process has too many open files
            connection.stay()
        else:
            connection.leave()

    def _read(self) -> None:
        """Add the numbers of the reports that the second process has sent, or note that the process has ended."""
        assert self._channel is not None
        try:
            data = self._channel.recv(_LINES_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._note_end()
            return
        *lines, self._lines = (self._lines + data).split(b"\n")
        for line in lines:
            self._note(json.loads(line))

    def _note(self, report: Report) -> None:
        """Add the numbers of a report. The first report shows that the process is ready."""
        self._silent_from = time.monotonic() + _SILENT_MOST_S
        for tenant, seconds in report["used"]:
            self._load.note(tenant, seconds)
        for route, status, count in report["answers"]:
            self._answers[route, status] += count
        if not self._is_ready:
            self._is_ready, self._start_again_after_s = True, _START_AGAIN_AFTER_S
            if self._process is not None:
                _lower_priority(self._process.pid, NICENESS)
        self._hand_over_waiting()

    def _note_end(self) -> None:
        log.error("second_process_ended")
        self._disconnect()
        self._let_waiting_stay()

    def _disconnect(self) -> None:
        if self._channel is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._channel)
            loop.remove_writer(self._channel)
            self._channel.close()
        self._channel, self._is_ready, self._lines = None, False, b""

    def let_end(self) -> None:
        """
        Ask the process to end. It ends when its open requests have ended, or after three seconds. If it is still
        starting, it has no requests: then kill it.
        """
        if self._timer is not None:
            self._timer.cancel()
        if self._channel is not None and not self._is_ready and self._process is not None:
            self._process.kill()
        self._disconnect()
        self._let_waiting_stay()
        self._started_at = float("inf")

    async def close(self) -> None:
        """End the process, and wait until it has ended."""
        self.let_end()
        if self._process is not None:
            await asyncio.to_thread(_end, self._process)


def _lower_priority(process: int, niceness: int) -> None:
    with suppress(OSError):  # it has ended
        os.setpriority(os.PRIO_PROCESS, process, niceness)
        # Linux may share the CPU among sessions first; the process has a session of its own.
        Path(f"/proc/{process}/autogroup").write_text(str(niceness))


def _is_closed(channel: socket.socket) -> bool:
    """Return whether the other side has closed a channel. The event loop may not have noticed this yet."""
    poll = select.poll()
    poll.register(channel, 0)
    return bool(poll.poll(0))


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
