"""The HTTP load of the benchmarks, against a real HTTP server."""

from __future__ import annotations

from collections import Counter
from http.server import BaseHTTPRequestHandler

import pytest

from retouch_ops.bench.http_load import post_many
from tests.served_http import served


@pytest.mark.parametrize(("requests", "connections"), [(7, 3), (8, 4), (2, 5)])
def test_every_request_is_sent(requests: int, connections: int) -> None:
    """Exactly `requests` requests are sent, even if the connections cannot share them equally."""
    seen = Counter[str]()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen[f"{self.path} {self.headers['Authorization']} {body.decode()}"] += 1
            self.send_response(204 if seen.total() > 1 else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with served(Handler) as url:
        load = post_many(f"{url}/v1/edits", b"{}", "rtk_1", requests=requests, connections=connections)
    assert seen == {"/v1/edits Bearer rtk_1 {}": requests}
    assert (len(load.times), load.refused) == (requests, 1)
