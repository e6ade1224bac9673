"""A receiver of webhooks that prints a line with the type of each event. It runs in a container of its own."""

from __future__ import annotations

import http.server
import json
import sys


class Receiver(http.server.BaseHTTPRequestHandler):
    """Accepts every event."""

    def do_POST(self) -> None:
        """Print the type of the event, and answer 204."""
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        sys.stdout.write(event["type"] + "\n")
        sys.stdout.flush()
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("0.0.0.0", 9000), Receiver).serve_forever()
