"""Makes a unit test fail if it tries to open a connection."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.process_watch import eventually


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a unit test tried to open a connection")

    # A client's reader lives for up to a second behind the last who waited, in a test that ran before in this process.
    assert eventually(lambda: all(thread.name != "retouch-feed" for thread in threading.enumerate()))
    monkeypatch.setattr(socket.socket, "connect", refuse)
