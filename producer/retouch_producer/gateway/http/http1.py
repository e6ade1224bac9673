"""HTTP/1.1 as the gateway speaks it: no upgrade is ever accepted, so the bytes after a head are always its body."""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024


class Http1Protocol(HttpToolsProtocol):
    """
    Uvicorn's protocol without upgrades such as `h2c`: by RFC 9110, 7.8, a server may ignore the offer.

    httptools takes a head with an offer for the whole message and leaves what follows to the other protocol; uvicorn
    then parses the body as the next request. Here such a head is parsed again without its Upgrade field.
    """

    _head_size = 0

    def on_headers_complete(self) -> None:
        """Begin a request. Raises ValueError, which becomes 400, for one whose end cannot be known (RFC 9112, 6.1)."""
        self._head_size = 0
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("a gateway is no proxy")
        if self.parser.get_http_version() == "1.0" and any(name == b"transfer-encoding" for name, _ in self.headers):
            raise ValueError("HTTP/1.0 knows no Transfer-Encoding")
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the body of a request."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._head_size = 1

    def data_received(self, data: bytes) -> None:
        """Parse bytes from the peer. A head of more than 64 KiB is refused."""
        self._unset_keepalive_if_required()
        if self._head_size:
            self._head_size += len(data)
        rest = memoryview(data)
        try:
            while rest:
                rest = self._feed(rest)
        except httptools.HttpParserError:
            self._refuse()
        if self._head_size > MAX_HEAD_BYTES:
            self._refuse()

    def _feed(self, data: memoryview) -> memoryview:
        """Parse bytes; returns those behind a head with an offer, once the head was parsed again without it."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            head = self._head_without_offer()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # uvicorn's own choice
            self.parser.feed_data(head)
            return data[offer.args[0] :]
        return data[len(data) :]

    def _head_without_offer(self) -> bytes:
        # The parser refuses line breaks in values, folded ones too, so what is written here is read as it was.
        fields = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        version = self.parser.get_http_version().encode()
        return b"\r\n".join([self.parser.get_method() + b" " + self.url + b" HTTP/" + version, *fields, b"", b""])

    def _refuse(self) -> None:
        """Answer 400, but never in the place of another request's answer; then the connection ends."""
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response("Invalid HTTP request received.")
        elif not self.cycle.more_body:
            self.cycle.keep_alive = False  # its request was whole: it is answered, and nothing after it
        elif self.pipeline or self.cycle.response_started:
            self.transport.close()
        else:
            self.send_400_response("Invalid HTTP request received.")
