"""A receiver of webhooks that prints the type of each event, a line each; it runs inside a container of its own."""

from __future__ import annotations

import http.server
import json
import sys


class Receiver(http.server.BaseHTTPRequestHandler):
    """Accepts every event."""

    def do_POST(self) -> None:
        """Write the event's type to the container's log."""
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        sys.stdout.write(event["type"] + "\n")
        sys.stdout.flush()
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("0.0.0.0", 9000), Receiver).serve_forever()
