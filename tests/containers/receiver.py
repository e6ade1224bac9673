"""A receiver of webhooks that prints the type of each event, a line each; it runs inside a container of its own."""

from __future__ import annotations

import http.server
import json


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers 204 to every POST."""

    def do_POST(self) -> None:
        """Print the event's type and accept it."""
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        print(event["type"], flush=True)
        self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("0.0.0.0", 9000), Receiver).serve_forever()
