"""
Receive Retouch's webhooks with the HTTP server of the standard library: `python examples/webhook_receiver.py`.

Set WEBHOOK_SECRET to the secret that `retouch receivers list --show-secret` shows. PORT is 8080 by default.
"""

from __future__ import annotations

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from retouch import WebhookNotVerified, verify_webhook

SECRET = os.environ["WEBHOOK_SECRET"]
seen: set[str] = set()  # a database in real life: an event may come twice, always with the same webhook-id


class Receiver(BaseHTTPRequestHandler):
    """
    Answers 400 to a request that cannot be verified, and 204 to any other request.

    The answer is sent before the event is handled, since the sender waits only for some seconds.
    """

    def do_POST(self) -> None:
        """Verify the raw body, and handle each event once."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            event = verify_webhook(body, dict(self.headers), SECRET)
        except WebhookNotVerified as fault:
            print(f"refused: {fault}", flush=True)
            self._answer(400)
            return
        self._answer(204)
        identity = self.headers["webhook-id"]
        if identity not in seen:
            seen.add(identity)
            handle(event)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing for each request."""


def handle(event: dict[str, object]) -> None:
    """Handle one event; this example prints it."""
    data = event["data"]
    assert isinstance(data, dict)
    print(f"{event['type']}: {data.get('job_id')}, tags {data.get('tags')}", flush=True)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8080"))), Receiver)
    print(f"receiving on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
