"""`retouch worker`: Celery worker processes, and a parent that restarts dead ones and stops all in bounded time."""

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
"""Limits glibc to two memory arenas. With more, memory that some threads free is of no use to the other hundreds."""

GRACE_BEYOND_CALL_S = 10.0
"""A call in flight may last `pix2pix_timeout_s`; this much more is for storing its result and exiting."""


class WrongLanes(RetouchError):
    """`--lanes` holds a name that is no lane."""

    wrong_use = True


def parse_lanes(text: str) -> tuple[str, ...]:
    """Return the lanes of a comma-separated list, in the order of `LANES`; raise `WrongLanes` for any other name."""
    named = {part.strip() for part in text.split(",") if part.strip()}
    if not named or named - set(LANES):
        raise WrongLanes(f"--lanes: expected some of {', '.join(LANES)}, comma-separated, got {text!r}")
    return tuple(lane for lane in LANES if lane in named)


def worker_programs(
    settings: Settings,
    lanes: Sequence[str],
    *,
    name: str,
    concurrency: int,
    processes: int,
    environment: Mapping[str, str] | None = None,
) -> list[Program]:
    """Return one program per process, named NAME-1, NAME-2…"""
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

    Failure policy: a worker that is killed, at the end of its grace or otherwise, loses nothing. Its leases expire, and
    another worker resumes its jobs from their records.
    """
    settings = Settings.load()
    chosen = parse_lanes(lanes)
    if "edits" in chosen:
        Credentials(settings).require_one()
    prefix = name or f"{'-'.join(chosen)}-{os.getpid()}"
    group = Group(partial(_report, settings.log_format))
    with group.counting_signals():
        group.start(*worker_programs(settings, chosen, name=prefix, concurrency=concurrency, processes=processes))
        group.supervise()


def _report(log_format: str, line: str) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    record = json.dumps({"timestamp": at, "level": "info", "logger": "supervisor", "event": line})
    print(record if log_format == "json" else f"{at} [supervisor] {line}", file=sys.stderr, flush=True)
