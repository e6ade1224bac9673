"""
Finds the stack that `retouch up` runs in this folder, so that other commands use it.

A running stack holds the lock file. If the lock is free, the record belongs to a stack that has ended. Every command
loads this module, so it imports only the standard library.
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
    """
    Lock the state folder and return the open lock file. Return None if another process has the lock.

    The lock is held until the file is closed or this process ends.
    """
    lock = (state / LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def read_running(state: Path) -> dict[str, Any] | None:
    """Return the record of the stack that runs on this state folder, or None if none runs."""
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
    Put the settings of the stack that runs on this state folder into the environment.

    Variables that are already set are not changed. If RETOUCH_REDIS_URL is set, nothing is done.
    """
    if "RETOUCH_REDIS_URL" in os.environ:
        return
    record = read_running(state) or {}
    for name, value in record.get("environment", {}).items():
        if name not in os.environ:
            os.environ[name] = value
            _adopted.add(name)


def adopted_names() -> frozenset[str]:
    """Return the names of the environment variables that `adopt_running_stack` has set."""
    return frozenset(_adopted)
