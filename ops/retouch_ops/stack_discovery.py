"""
Finds the stack that `retouch up` runs in this folder, so that other commands use it.

The stack holds the lock file as long as it runs, so a record whose lock is free belongs to a stack that has ended. This
module imports only the standard library, since every command loads it.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any

DEFAULT_STATE = Path("var/state")
LOCK, RECORD = "lock", "stack.json"

_adopted: set[str] = set()


def hold_lock(state: Path) -> IO[str] | None:
    """Lock the state folder until the returned file is closed or the process ends; None if another process has it."""
    lock = (state / LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def read_running(state: Path) -> dict[str, Any] | None:
    """Return the record of the stack that now runs on this state folder, or None."""
    try:
        record = json.loads((state / RECORD).read_text())
    except (OSError, ValueError):
        return None
    lock = hold_lock(state)
    if lock is None and isinstance(record, dict):
        return record
    if lock:
        lock.close()
    return None


def adopt_running_stack(state: Path = DEFAULT_STATE) -> None:
    """
    Put the settings of the stack that runs in this folder into the environment, unless RETOUCH_REDIS_URL is set.

    Variables that are already set are not changed.
    """
    if "RETOUCH_REDIS_URL" in os.environ:
        return
    record = read_running(state) or {}
    for name, value in record.get("environment", {}).items():
        if name not in os.environ:
            os.environ[name] = value
            _adopted.add(name)


def adopted_names() -> frozenset[str]:
    """Return the names of the environment variables that came from the running stack."""
    return frozenset(_adopted)
