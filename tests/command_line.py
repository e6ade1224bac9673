"""
Runs the `retouch` command inside this process. Arguments and exit codes are the same; a new process would take a
second.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any
from unittest import mock

from retouch_ops.cli import main
from tests.served_http import served


@dataclass(frozen=True)
class Ended:
    """The output and the exit code of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return the standard output of the command, parsed as JSON."""
        return json.loads(self.out)


def typed(*arguments: object, given: str = "") -> Ended:
    """Run `retouch` with these arguments and the standard input `given`; return its output and exit code."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    words = ["retouch", *(str(argument) for argument in arguments)]
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "stdin", io.StringIO(given)),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return Ended(code, out.getvalue(), err.getvalue())


def work_in(client: Any) -> list[str]:
    """Return the names of the keys in Redis that belong to jobs, receivers, tenants and events, sorted."""
    ours = ("rt:edits:spec:", "rt:jobs:", "rt:idem:", "rt:edits:backlog:", "rt:receiver", "rt:tenants", "rt:feed")
    return [name for name in sorted(client.keys("*")) if name.startswith(ours)]


class _Files(SimpleHTTPRequestHandler):
    """A request handler that serves a folder of blobs under /files/, as the gateway does."""

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix("/files"))

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serving_files(folder: Path) -> Iterator[str]:
    """Context manager that serves a folder of blobs over HTTP, and yields the URL for RETOUCH_PUBLIC_URL."""
    with served(partial(_Files, directory=str(folder))) as url:
        yield url
