"""`retouch worker`: Celery worker processes under a parent that replaces dead ones and stops all in bounded time."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from retouch.errors import RetouchError
from retouch.settings import Settings
from retouch_ops.processes import Group, Program
from retouch_worker.edits.credentials import Credentials

LANES = ("edits", "deliveries")
MEMORY = {"MALLOC_ARENA_MAX": "2"}
"""For glibc, which else keeps freed memory apart for groups of threads; hundreds of them never hand it on."""

GRACE_BEYOND_CALL_S = 10.0
"""A call in flight may last `pix2pix_timeout_s`; this is for storing its result and leaving."""


class WrongLanes(RetouchError):
    """`--lanes` named something that is no lane."""

    wrong_use = True


def parse_lanes(text: str) -> tuple[str, ...]:
    """The lanes of a comma-separated list, in our order; raises `WrongLanes` for anything else."""
    asked = {part.strip() for part in text.split(",") if part.strip()}
    if not asked or asked - set(LANES):
        raise WrongLanes(f"--lanes: expected some of {', '.join(LANES)}, comma-separated, got {text!r}")
    return tuple(lane for lane in LANES if lane in asked)


def worker_programs(
    settings: Settings,
    lanes: Sequence[str],
    *,
    name: str,
    concurrency: int,
    processes: int,
    environment: Mapping[str, str] | None = None,
) -> list[Program]:
    """One program for each process, named NAME-1, NAME-2…"""
    worker = (sys.executable, "-P", "-m", "retouch_ops.worker_process")
    return [
        Program(
            f"{name}-{number}",
            [*worker, f"{name}-{number}", ",".join(lanes), str(concurrency)],
            environment={**MEMORY, **(os.environ if environment is None else environment)},
            grace_s=settings.pix2pix_timeout_s + GRACE_BEYOND_CALL_S,
            reloads=True,
        )
        for number in range(1, processes + 1)
    ]


def run_workers(lanes: str, *, concurrency: int, processes: int, name: str | None) -> None:
    """
    Keep the processes running until SIGTERM or SIGINT, then stop them within `pix2pix_timeout_s` + 10 s. SIGHUP goes on
    to them: they read accounts and keys anew.

    Raises `SettingsError` where the accounts file is wrong, or where edits are asked for and none of its keys is here.

    Failure policy: a worker that is killed, here or by the end of the grace, loses nothing; its leases expire and
    another worker resumes from the record.
    """
    settings = Settings.load()
    chosen = parse_lanes(lanes)
    if "edits" in chosen:
        Credentials(settings).require_one()
    prefix = name or f"{'-'.join(chosen)}-{os.getpid()}"
    group = Group(partial(_report, settings.log_format))
    with group.listening():
        group.start(*worker_programs(settings, chosen, name=prefix, concurrency=concurrency, processes=processes))
        group.supervise()


def _report(log_format: str, line: str) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    record = json.dumps({"timestamp": at, "level": "info", "logger": "supervisor", "event": line})
    print(record if log_format == "json" else f"{at} [supervisor] {line}", file=sys.stderr, flush=True)
