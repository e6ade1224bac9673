"""`retouch flower`: Flower against our broker, bound inside, with bounded memory and without an open API."""

from __future__ import annotations

import errno
import os

from retouch.errors import RetouchError
from retouch.settings import Settings

OPEN_API = "FLOWER_UNAUTHENTICATED_API"
"""With this variable Flower lets anyone send tasks to workers; it is never passed on."""


class FlowerPortTaken(RetouchError):
    """Something listens there already; Flower was not started."""

    wrong_use = True


def flower_arguments(settings: Settings) -> list[str]:
    """
    Flower's options; the password is among them, so they are handed over inside the process, not on a command line.

    A task takes 8.3 kB of its memory, hence 10,000 of them; a killed worker would count as online for ever without
    the purge.
    """
    auth = settings.flower_basic_auth.get_secret_value()
    return [
        f"--address={settings.flower_address}",
        f"--port={settings.flower_port}",
        "--max-tasks=10000",
        "--purge-offline-workers=60",
        "--logging=error",
        *([f"--basic-auth={auth}"] if auth else []),
    ]


def run_flower() -> None:
    """Serve Flower until SIGTERM or SIGINT; raises `FlowerPortTaken`."""
    settings = Settings.load()
    for name in [name for name in os.environ if name.upper() == OPEN_API]:
        del os.environ[name]

    from retouch.broker import make_app

    app = make_app(settings)
    app.conf.broker_pool_limit = 10  # every 5 s Flower asks workers for their events, each time on a new connection
    try:
        app.start(argv=["flower", *flower_arguments(settings)])
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        where = f"{settings.flower_port} is in use on {settings.flower_address}"
        raise FlowerPortTaken(f"RETOUCH_FLOWER_PORT: {where}; name another") from error
