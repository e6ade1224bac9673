"""The gateway's connections, whose requests move to the second process if their tenant is busy."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import httptools

from retouch_producer.gateway.busy_tenants.handover import SecondProcess
from retouch_producer.gateway.http.auth import KeyCache
from retouch_producer.gateway.http.http1 import Http1Protocol

_BEARER = b"bearer "


class MovableConnection(Http1Protocol):
    """
    An HTTP/1.1 connection that is handed over when the head of a busy tenant's request is complete.

    A request that the client sent behind another one, before that was answered, is served here.
    """

    second_process: ClassVar[SecondProcess]
    is_busy: ClassVar[Callable[[str], bool]]
    key_cache: ClassVar[KeyCache]

    _received = bytearray()
    _is_in_message = _may_move = _is_leaving = False

    def data_received(self, data: bytes) -> None:
        """Parse bytes that the client sent."""
        if self._head_size:
            self._received += data
        else:
            self._received, self._may_move = bytearray(data), not self._is_in_message
        super().data_received(data)
        if self._is_leaving:
            self.flow.pause_reading()
            self.second_process.take(self)
        elif not self._head_size:
            self._received = bytearray()

    def on_message_begin(self) -> None:
        """Begin a request."""
        if not self._is_leaving:
            self._is_in_message = True
            super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin a request once its head is parsed, or let the connection leave."""
        if self._is_leaving:
            return
        if self._may_move and self._is_idle() and not self.parser.should_upgrade() and self._is_of_busy_tenant():
            self._head_size, self._is_leaving = 0, True
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the request's body."""
        if not self._is_leaving:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body of a request."""
        if not self._is_leaving and not self.parser.should_upgrade():
            self._is_in_message = self._may_move = False
            super().on_message_complete()

    def _is_idle(self) -> bool:
        """Return whether earlier answers were sent, to the last byte."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and not self.transport.get_write_buffer_size()

    def refuse(self) -> None:
        """End the connection, unless it moves: the other process parses the same bytes."""
        if not self._is_leaving:
            super().refuse()

    def _is_of_busy_tenant(self) -> bool:
        if self.url.startswith(b"/metrics"):  # the numbers of this process
            return False
        for name, value in self.headers:
            if name == b"authorization" and value[: len(_BEARER)].lower() == _BEARER:
                tenant = self.key_cache.last_tenant_of(value[len(_BEARER) :].decode("latin-1").strip())
                return tenant is not None and type(self).is_busy(tenant)
        return False

    def received(self) -> bytes:
        """Return what was received of the request."""
        return bytes(self._received)

    def fileno(self) -> int:
        """Return the file descriptor of the connection; -1 if it is closed."""
        if self.transport.is_closing():
            return -1
        descriptor: int = self.transport.get_extra_info("socket").fileno()
        return descriptor

    def leave(self) -> None:
        """Close the file descriptor; the connection lives on in the process that has a copy of it."""
        self.connections.discard(self)
        self.transport.abort()

    def stay(self) -> None:
        """Serve the request in this process: parse it anew."""
        if self.transport.is_closing():
            return
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # uvicorn's own choice
        self._is_leaving = self._may_move = False
        self.flow.resume_reading()
        data, self._received = self.received(), bytearray()
        super().data_received(data)


def movable_connection(
    second_process: SecondProcess, is_busy: Callable[[str], bool], key_cache: KeyCache
) -> type[MovableConnection]:
    """Return the class of connections whose requests move to this process if `is_busy` is true of their tenant."""
    bound = {"second_process": second_process, "is_busy": staticmethod(is_busy), "key_cache": key_cache}
    return type("MovableConnection", (MovableConnection,), bound)
