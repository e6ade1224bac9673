"""`retouch flower`: Flower against our broker, bound inside, with bounded memory and without an open API."""

from __future__ import annotations

import os

from retouch.settings import Settings

OPEN_API = "FLOWER_UNAUTHENTICATED_API"
"""With this variable Flower lets anyone send tasks to workers; it is never passed on."""


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
    """Serve Flower until SIGTERM or SIGINT."""
    settings = Settings.load()
    for name in [name for name in os.environ if name.upper() == OPEN_API]:
        del os.environ[name]

    from retouch.broker import make_app

    make_app(settings).start(argv=["flower", *flower_arguments(settings)])
