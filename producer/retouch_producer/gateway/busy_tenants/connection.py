"""The gateway's connections. A request that would make other tenants slow moves to the second process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, ClassVar

import httptools

from retouch_producer.gateway.busy_tenants.handover import SecondProcess
from retouch_producer.gateway.http.auth import KeyCache
from retouch_producer.gateway.http.http1 import Http1Protocol
from retouch_producer.gateway.http.request_turns import EXTENSION

KEPT_MOST = 512 * 1024
"""The bytes of a request that are kept so that it may move; uvicorn reads fewer before the application asks for any."""
LARGE_BODY = 65_536
"""A longer body, in bytes, is that of a large request: a batch or a picture."""
_LONG_LIST = re.compile(rb"[?&]limit=\d{3}")


class MovableConnection(Http1Protocol):
    """
    An HTTP/1.1 connection that can move to the second process together with a request.

    A connection can move only while nothing was done for the request. If the head shows that the request would make
    other tenants slow, the connection moves at once. If the application finds this out later, it calls `move`. For
    example, the key may be in the body, or the tenant may become busy while the request waits. If the client sends a
    request before the previous one is answered, that request is served here.
    """

    second_process: ClassVar[SecondProcess]
    slows_others: ClassVar[Callable[[str | None, bool], bool]]
    key_cache: ClassVar[KeyCache]
    learning: ClassVar[set[asyncio.Task[None]]] = set()

    _received = bytearray()
    """What was received of the request, as long as it may move."""
    _is_in_message: bool = False
    _may_move: bool = False
    _is_leaving: bool = False

    def data_received(self, data: bytes) -> None:
        """Parse bytes that the client sent."""
        if self._has_left():
            self._received += data
            return
        if self._may_move:
            self._received += data
        elif not self._is_in_message and self._is_idle():
            self._received, self._may_move = bytearray(data), True
        super().data_received(data)
        if self._has_left():
            self._hand_over()
        elif len(self._received) > KEPT_MOST and not self._head_size:
            self.keep()

    def on_message_begin(self) -> None:
        """Begin a request."""
        if self._is_leaving:
            return
        if not self._is_idle():
            self.keep()
        self._is_in_message = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin the request, or let the connection move to the second process."""
        if self._is_leaving:
            return
        if self.url.startswith(b"/metrics"):  # the numbers of this process
            self.keep()
        if self._may_move and not self.parser.should_upgrade() and self._should_move():
            self._head_size, self._is_leaving = 0, True
            return
        extensions: dict[str, Any] = {EXTENSION: self}
        self.scope["extensions"] = extensions
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the request's body."""
        if not self._is_leaving:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the body of a request."""
        if not self._is_leaving and not self.parser.should_upgrade():
            self._is_in_message = False
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next request, if the client has sent one."""
        self.keep()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the received bytes, and let uvicorn end the request, since the connection is lost."""
        self.keep()
        super().connection_lost(exc)

    def move(self) -> bool:
        """
        Move the connection to the second process, with the request that is being served. Return whether this was
        possible.

        Call this only if nothing was done for the request. After True, end the task of the request without an answer.
        """
        if not self._may_move or self._is_leaving or self.transport.is_closing():
            return False
        self.cycle.disconnected = True  # so its task may end without an answer
        self.cycle = None  # type: ignore[assignment]  # as uvicorn has it before the first request
        self._is_leaving = True
        self._hand_over()
        return True

    def _has_left(self) -> bool:
        return self._is_leaving

    def keep(self) -> None:
        """Serve the request in this process. From now on, it cannot move."""
        self._received, self._may_move = bytearray(), False

    def _hand_over(self) -> None:
        self.flow.pause_reading()
        self.second_process.take(self)

    def _is_idle(self) -> bool:
        """Return whether all earlier answers were sent completely."""
        is_answered = self.cycle is None or self.cycle.response_complete
        return is_answered and not self.transport.get_write_buffer_size()

    def refuse(self) -> None:
        """
        Refuse an invalid request. If the connection is moving, do nothing: the other process parses the same bytes.
        """
        if not self._is_leaving:
            super().refuse()

    def _should_move(self) -> bool:
        """Return whether the head shows that the request would make other tenants slow."""
        headers = dict(self.headers)
        scheme, _, secret = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return False
        key = secret.decode("latin-1").strip()
        tenant = self.key_cache.last_tenant_of(key)
        length = headers.get(b"content-length", b"")
        is_large = (length.isdigit() and int(length) > LARGE_BODY) or bool(_LONG_LIST.search(self.url))
        should_move = type(self).slows_others(tenant, is_large)
        if should_move and tenant is None:
            # The next large request of the same caller is judged by its tenant.
            self.learning.add(task := self.loop.create_task(self.key_cache.learn(key)))
            task.add_done_callback(self.learning.discard)
        return should_move

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
        """Close the file descriptor of this process. The other process has a copy, so the connection stays open."""
        self.connections.discard(self)
        self.transport.abort()

    def stay(self) -> None:
        """Parse the received bytes anew, and serve the request in this process."""
        if self.transport.is_closing():
            return
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # uvicorn's own choice
        data, self._is_leaving, self._is_in_message = self.received(), False, False
        self.keep()
        self.flow.resume_reading()
        super().data_received(data)


def movable_connection(
    second_process: SecondProcess, slows_others: Callable[[str | None, bool], bool], key_cache: KeyCache
) -> type[MovableConnection]:
    """
    Return a class of connections. A request moves to the second process if `slows_others` returns True.

    `slows_others` gets the tenant of the request, or None if it is not known yet, and whether the request is large.
    """
    bound = {"second_process": second_process, "slows_others": staticmethod(slows_others), "key_cache": key_cache}
    return type("MovableConnection", (MovableConnection,), bound)
