"""HTTP/1.1 without upgrades to other protocols, so that the bytes after a head are always the request's body."""

from __future__ import annotations

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024


class Http1Protocol(HttpToolsProtocol):
    """
    Uvicorn's HTTP/1.1 protocol, but offers to upgrade (such as `h2c`) are ignored, as RFC 9110, 7.8 allows.

    httptools ends a message after a head with an Upgrade field. Uvicorn would then parse the body as the next request.
    Therefore this class parses such a head again without the Upgrade field.
    """

    _head_size = 0

    def on_headers_complete(self) -> None:
        """
        Begin a request once its head is parsed.

        Raises `ValueError` for CONNECT, and if the end of the body is ambiguous (RFC 9112, 6.1). The answer is then
        400.
        """
        self._head_size = 0
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("CONNECT is not supported")
        if self.parser.get_http_version() == "1.0" and any(name == b"transfer-encoding" for name, _ in self.headers):
            raise ValueError("Transfer-Encoding is not allowed in HTTP/1.0")
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End the body of a request, unless the request's head is about to be parsed again."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_message_begin(self) -> None:
        """Begin a request, and start to count the bytes of its head."""
        super().on_message_begin()
        self._head_size = 1

    def data_received(self, data: bytes) -> None:
        """Parse bytes that the client sent; a head of more than 64 KiB is answered 400."""
        self._unset_keepalive_if_required()
        if self._head_size:
            self._head_size += len(data)
        rest = memoryview(data)
        try:
            while rest:
                rest = self._feed(rest)
        except httptools.HttpParserError:
            self.refuse()
        if self._head_size > MAX_HEAD_BYTES:
            self.refuse()

    def _feed(self, data: memoryview) -> memoryview:
        """
        Parse bytes, and return the unparsed rest: the start of the body if the head has an Upgrade field, else none.
        """
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
        # The parser refuses line breaks in values, also folded ones, so the fields are parsed as before.
        fields = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        version = self.parser.get_http_version().encode()
        return b"\r\n".join([self.parser.get_method() + b" " + self.url + b" HTTP/" + version, *fields, b"", b""])

    def refuse(self) -> None:
        """
        Answer 400 and end the connection.

        The 400 is left out if the client would take it for the answer to an earlier request. An earlier request that
        was received in full is answered before the connection ends.
        """
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response("Invalid HTTP request received.")
        elif not self.cycle.more_body:
            self.cycle.keep_alive = False  # the earlier request is complete: it is answered, then the connection ends
        elif self.pipeline or self.cycle.response_started:
            self.transport.close()
        else:
            self.send_400_response("Invalid HTTP request received.")
