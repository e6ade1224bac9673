"""Runs the gateway in this process."""

from __future__ import annotations

import logging
import sys

import uvicorn

from retouch.settings import Settings
from retouch_producer.gateway.app import make_gateway
from retouch_producer.gateway.http.http1 import Http1Protocol

DRAIN_S = 3
_SWITCH_EVERY_S = 0.0005


def serve(*, port: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in flight end within 3 s; `port` overrides the settings."""
    settings = Settings.load()
    # A thread that computes hands the interpreter on ten times as often, for each request needs it many times.
    sys.setswitchinterval(_SWITCH_EVERY_S)
    # It logs what uploads say of themselves, which is the callers'.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    uvicorn.run(
        make_gateway(settings),
        host=settings.gateway_address,
        port=settings.gateway_port if port is None else port,
        log_level=settings.log_level.lower(),
        access_log=False,  # a link is a credential: it has no place in a log
        server_header=False,
        http=Http1Protocol,
        ws="none",
        timeout_graceful_shutdown=DRAIN_S,
    )
