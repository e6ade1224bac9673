"""
Where a running `retouch up` says what it runs, so that other commands in the same folder find it.

The lock file is held by the stack for its whole life: a record whose lock is free is of a stack that is gone. Only
the standard library is imported, since every command looks here first.
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
    """Take the state folder for this process until the file is closed or the process ends; None if it is taken."""
    lock = (state / LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def read_running(state: Path) -> dict[str, Any] | None:
    """The record of the stack that runs on this state folder now, or None."""
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
    Point this process at the stack that runs in this folder, unless RETOUCH_REDIS_URL says where to go.

    Settings that the environment already has are left alone.
    """
    if "RETOUCH_REDIS_URL" in os.environ:
        return
    record = read_running(state) or {}
    for name, value in record.get("environment", {}).items():
        if name not in os.environ:
            os.environ[name] = value
            _adopted.add(name)


def adopted_names() -> frozenset[str]:
    """The environment variables that came from the running stack, for `retouch settings`."""
    return frozenset(_adopted)
