"""The state folder of a local stack: its marker file, its lock, its ports and its API key."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from retouch.errors import RetouchError
from retouch.store.tenants import KEY_PREFIX
from retouch_ops.stack_discovery import LOCK, RECORD, hold_lock, read_running

MARKER, PORTS, API_KEY = "retouch-state", "ports.json", "api_key"
MARKER_TEXT = "This folder belongs to `retouch up`; `retouch up --fresh` may empty it.\n"
HOST = "127.0.0.1"


class StateInUse(RetouchError):
    """Another `retouch up` runs on this state folder, so nothing was started."""

    is_usage_error = True


class StateNotOurs(RetouchError):
    """The folder has files but no marker of ours, so nothing in it was changed."""

    is_usage_error = True


class StateUnusable(RetouchError):
    """The folder cannot be created or written, so nothing was started."""

    is_usage_error = True


class PortTaken(RetouchError):
    """The requested port is in use, so nothing was started."""

    is_usage_error = True


class StateFolder:
    """
    One folder with Redis data, images, ports and a record of the stack that runs on it.

    The folder is locked from construction until `release`. Raises `StateInUse`, `StateNotOurs` or `StateUnusable`.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path.resolve()
        self._refuse_foreign_folder()
        self._make()
        self._lock = self._claim()
        if fresh:
            self._empty()
        self.remembered: dict[str, int] = _read_json(self.path / PORTS)

    def _refuse_foreign_folder(self) -> None:
        if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / MARKER).exists():
            raise StateNotOurs(
                f"--state: {self.path} holds files and no {MARKER!r} marker, so it is not a state folder of Retouch; "
                "name another, or an empty one"
            )

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / MARKER).write_text(MARKER_TEXT)
        except FileExistsError:
            raise StateUnusable(f"--state: {self.path} cannot be used: Not a directory") from None
        except OSError as error:
            raise StateUnusable(f"--state: {self.path} cannot be used: {error.strerror}") from error

    def _claim(self) -> IO[str]:
        # A command that looks for a running stack has the lock for an instant, so there are three tries.
        for _ in range(3):
            if lock := hold_lock(self.path):
                return lock
            time.sleep(0.05)
        running = read_running(self.path) or {}
        raise StateInUse(
            f"a stack already runs on {self.path} (process {running.get('pids', {}).get('up', 'unknown')}, gateway "
            f"{running.get('gateway_url', 'not up yet')}); stop it with Ctrl-C there, or name "
            "another folder with --state"
        )

    def _empty(self) -> None:
        for entry in self.path.iterdir():
            if entry.name in {MARKER, LOCK}:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def port(self, name: str, *, requested: int | None = None, preferred: Sequence[int] = ()) -> int:
        """
        Return a free port for one service, and store it for the next start.

        If `requested` is set, return that port, or raise `PortTaken` if it is in use. Otherwise, try the preferred
        ports first, then the port of the last start, then any free port.
        """
        if requested and not _is_free(requested):
            raise PortTaken(f"--port: {requested} is in use on {HOST}; name another, or none to get a free one")
        candidates = [requested] if requested else [*preferred, self.remembered.get(name, 0)]
        taken = {port for other, port in self.remembered.items() if other != name}
        usable = (port for port in candidates if port and (requested or port not in taken) and _is_free(port))
        self.remembered[name] = next(usable, 0) or _free_port()
        (self.path / PORTS).write_text(json.dumps(self.remembered))
        return self.remembered[name]

    def api_key(self) -> str:
        """Return the API key of this stack. The first call makes the key, in a file that only the owner can read."""
        path = self.path / API_KEY
        if not path.exists():
            draft = path.with_suffix(".new")
            draft.touch(0o600)
            draft.write_text(f"{KEY_PREFIX}{secrets.token_urlsafe(32)}\n")
            draft.replace(path)
        return path.read_text().strip()

    def record(self, stack: Mapping[str, object]) -> None:
        """Write the record of the running stack, by which other commands in this folder find it."""
        draft = self.path / (RECORD + ".new")
        draft.write_text(json.dumps(stack, indent=2))
        draft.replace(self.path / RECORD)

    def release(self) -> None:
        """Delete the record of the running stack, and unlock the folder."""
        (self.path / RECORD).unlink(missing_ok=True)
        self._lock.close()


def _read_json(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {str(name): int(port) for name, port in found.items()} if isinstance(found, dict) else {}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was closed just now counts as free
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
