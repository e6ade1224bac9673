"""
`retouch worker`: runs Celery worker processes, replaces those that die, and stops all of them within a bounded time.
"""

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
"""Limits glibc to two memory arenas, since memory that threads free in one arena is not reused in another."""

GRACE_BEYOND_CALL_S = 10.0
"""Seconds for storing a result and exiting, after the `pix2pix_timeout_s` that a call in flight may take."""


class WrongLanes(RetouchError):
    """A name after `--lanes` is not the name of a lane."""

    is_usage_error = True


def parse_lanes(text: str) -> tuple[str, ...]:
    """Return the lanes of a comma-separated list, in the order of `LANES`. Raises `WrongLanes` for any other name."""
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
    """Return a program for each worker process. The names of the programs are NAME-1, NAME-2 and so on."""
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
    Run worker processes until SIGTERM or SIGINT, then stop them within `pix2pix_timeout_s` + 10 s.

    On SIGHUP, the workers read accounts and keys again. Raises `SettingsError` if the accounts file is wrong. Also
    raises `SettingsError` if `lanes` includes edits and this process can read no key.

    Failure policy: a worker that is killed loses nothing. Its leases expire, and another worker resumes its jobs from
    their records.
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
