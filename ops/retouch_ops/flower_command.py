"""`retouch flower`: runs Flower on our broker, on a local address, with bounded memory and without an open API."""

from __future__ import annotations

import errno
import os
from typing import Any

from retouch.errors import RetouchError
from retouch.settings import Settings

OPEN_API = "FLOWER_UNAUTHENTICATED_API"
"""With this variable Flower would let anyone send tasks to workers, so `run_flower` removes it."""


class FlowerPortTaken(RetouchError):
    """The port for Flower is in use, so Flower was not started."""

    is_usage_error = True


def flower_arguments(settings: Settings) -> list[str]:
    """
    Return Flower's options. They contain the password, so they must not be put on a command line.

    Flower keeps at most 10,000 tasks, of 8.3 kB each. Without `--purge-offline-workers`, Flower would show a killed
    worker as online for ever.
    """
    auth = settings.flower_basic_auth.get_secret_value()
    return [
        f"--address={settings.flower_address}",
        f"--port={settings.flower_port}",
        "--max-tasks=10000",
        "--purge-offline-workers=60",
        "--logging=error",
        *(["--read-only"] if settings.flower_read_only else []),
        *([f"--basic-auth={auth}"] if auth else []),
    ]


def job_of(task_id: str) -> str:
    """
    Return the id of a task's job, or an empty string if the task belongs to no job.

    The id of a task begins with the id of its job or of its delivery.
    """
    kind, _, rest = task_id.partition("_")
    return f"ed_{rest.split('-')[0]}" if kind in {"ed", "dl"} else ""


def show_job(task: Any, public_url: str) -> Any:
    """
    Return the task as Flower's page shows it. For the task of a job, the URL of the job's page and its `retouch job`
    command replace the keyword arguments.
    """
    if job := job_of(task.uuid or ""):
        task.kwargs = f"{public_url.rstrip('/')}/console/jobs/{job} or: retouch job {job}"
    return task


def run_flower() -> None:
    """Serve Flower until SIGTERM or SIGINT. Raises `FlowerPortTaken` if its port is in use."""
    settings = Settings.load()
    # Flower ignores the case of this name.
    for name in [name for name in os.environ if name.upper() == OPEN_API]:
        del os.environ[name]

    from flower.options import default_options

    from retouch.broker import make_app

    def format_task(task: Any) -> Any:  # Flower takes nothing but a function
        return show_job(task, settings.public_url)

    default_options.format_task = format_task

    app = make_app(settings)
    app.conf.broker_pool_limit = 10  # every 5 s Flower asks workers for their events, each time on a new connection
    try:
        app.start(argv=["flower", *flower_arguments(settings)])
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        where = f"{settings.flower_port} is in use on {settings.flower_address}, so Flower was not started"
        raise FlowerPortTaken(f"RETOUCH_FLOWER_PORT: {where}; set another port") from error
