"""Serves the gateway with uvicorn in this process."""

from __future__ import annotations

import gc
import logging
import sys

import uvicorn

from retouch.settings import Settings
from retouch_producer.gateway.app import make_gateway
from retouch_producer.gateway.http.http1 import Http1Protocol

DRAIN_S = 3
_SWITCH_EVERY_S = 0.0005
_COLLECT_AFTER = (2_000, 10, 1_000)


def serve(*, port: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then allow open requests 3 s to end. `port` overrides the setting."""
    settings = Settings.load()
    # A request needs the interpreter many times. At Python's default of 5 ms it would wait each time for a thread that
    # computes.
    sys.setswitchinterval(_SWITCH_EVERY_S)
    app = make_gateway(settings)
    # A full collection stops every thread, for 0.4 s once a tenant has many requests and lists in memory, and finds
    # next to nothing: reference counts free what a request leaves. So it comes rarely, and leaves out what stays.
    gc.set_threshold(*_COLLECT_AFTER)
    gc.freeze()
    # This library logs the headers of uploads, which may hold customers' data.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    uvicorn.run(
        app,
        host=settings.gateway_address,
        port=settings.gateway_port if port is None else port,
        log_level=settings.log_level.lower(),
        access_log=False,  # links are credentials and must not be logged
        server_header=False,
        http=Http1Protocol,
        ws="none",
        timeout_graceful_shutdown=DRAIN_S,
    )
